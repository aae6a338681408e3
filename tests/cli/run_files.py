"""Valid run files and their parts, as Hypothesis strategies and as one plain example."""

from __future__ import annotations

import math
from functools import cache

from hypothesis import strategies as st
from nacl.signing import SigningKey
from zmq.utils import z85

from btard.genesis_problems import RESERVED_OPTIONS
from btard.hashing import digest
from btard.runfile import PeerEntry, RunFile, TaskSection
from btard.statemachine.parameters import Parameters, Timing

DELAYS = ("delta", "delta_bulk", "c_commit", "c_aggregate", "c_reveal", "c_validate", "c_accuse", "c_judge")
DELAYS += ("c_publish",)


@cache
def sign_key(number: int) -> bytes:
    return bytes(SigningKey(digest("test key", number.to_bytes(8, "little"))).verify_key)


def curve_key(number: int) -> str:
    return z85.encode(digest("test curve key", number.to_bytes(8, "little"))).decode()


def example_peer(number: int) -> PeerEntry:
    port = 40_000 + 2 * number
    name = f"peer-{number}"
    addresses = (f"tcp://10.0.0.1:{port}", f"tcp://10.0.0.1:{port + 1}")
    return PeerEntry(name, sign_key(number), curve_key(number), *addresses)


def example(peers: int = 4) -> RunFile:
    return RunFile(
        name="example",
        seed=digest("test seed"),
        task=TaskSection("digits", {"batch_size": 16}, digest("test model"), digest("test data")),
        parameters=Parameters(200, 1000, 0.3, 1, (peers - 2) // 2, math.inf, 1e-6, 4.0, (peers - 2) // 2, 20),
        timing=Timing.derive(**dict.fromkeys(DELAYS, 1000)),
        evaluate_every=10,
        numerics="exact",
        bulk_security="curve",
        peers=tuple(example_peer(number) for number in range(peers)),
    )


names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)
digests = st.binary(min_size=32, max_size=32)
texts = st.text(st.characters(exclude_categories=("C", "Z")) | st.sampled_from(" \"'\\#"), max_size=100)
hosts = st.sampled_from(["127.0.0.1", "[::1]", "[2001:db8::7]", "localhost", "peer-7.example.org", "10.1.2.3"])
options = st.dictionaries(
    st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,12}", fullmatch=True).filter(
        lambda name: name not in RESERVED_OPTIONS
    ),
    st.booleans() | st.integers(-(2**63) + 1, 2**63 - 1) | st.floats(allow_nan=False) | texts,
    max_size=5,
)


@st.composite
def peer_lists(draw: st.DrawFn, size: int) -> tuple[PeerEntry, ...]:
    chosen = draw(st.lists(names, min_size=size, max_size=size, unique=True))
    ports = draw(st.lists(st.integers(1, 65535), min_size=2 * size, max_size=2 * size, unique=True))
    first = draw(st.integers(0, 50))
    addresses = [f"tcp://{draw(hosts)}:{port}" for port in ports]
    return tuple(
        PeerEntry(name, sign_key(first + i), curve_key(first + i), addresses[2 * i], addresses[2 * i + 1])
        for i, name in enumerate(chosen)
    )


@st.composite
def parameters(draw: st.DrawFn, peers: int) -> Parameters:
    validators = draw(st.integers(0, peers // 3))
    f_max = draw(st.integers(0, (peers - validators - 1) // 2))
    return Parameters(
        steps=draw(st.integers(1, 2**32 - 1)),
        dimension=draw(st.integers(peers, 2**32 - 1)),
        tau=draw(st.floats(min_value=0, exclude_min=True)),
        validators=validators,
        f_max=f_max,
        gradient_clip=draw(st.floats(min_value=0, exclude_min=True)),
        gradient_rtol=draw(st.floats(0, 0.1)),
        alarm_factor=draw(st.floats(1, 1e300)),
        late_brake=draw(st.integers(0, f_max)),
        window=(window := draw(st.integers(1, 10**6))),
        late_limit=draw(st.integers(0, window)),
    )


@st.composite
def run_files(draw: st.DrawFn) -> RunFile:
    peers = draw(st.integers(3, 5))
    task_name = draw(texts.filter(bool))
    return RunFile(
        name=draw(names),
        seed=draw(digests),
        task=TaskSection(task_name, draw(options), draw(digests), draw(digests)),
        parameters=draw(parameters(peers)),
        timing=Timing.derive(**{delay: draw(st.integers(1, 100_000)) for delay in DELAYS}),
        evaluate_every=draw(st.integers(1, 2**32 - 1)),
        numerics="exact",
        bulk_security=draw(st.sampled_from(["curve", "digest"])),
        peers=draw(peer_lists(peers)),
    )
