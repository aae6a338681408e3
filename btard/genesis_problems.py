"""What is wrong with the values of a genesis, one clear line for each problem (spec GEN-3, GEN-4)."""

from __future__ import annotations

import ipaddress
import math
import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Final

from attrs import asdict
from nacl.bindings import crypto_core_ed25519_is_valid_point

from btard.genesis import BULK_SECURITY, NUMERICS, OptionValue, PeerEntry, RunFile, TaskSection
from btard.hashing import HASH_SIZE
from btard.statemachine.parameters import Parameters, Timing
from btard.wire import MAX_PEERS

MAX_INTEGER: Final = 2**32 - 1
MAX_TEXT: Final = 400
MAX_OPTIONS: Final = 64
MIN_TOLERANT_RTOL: Final = 1e-5
RESERVED_OPTIONS: Final = ("seed", "device")  # what every task is given beside its options
NAME_RULE: Final = "must be 1 to 64 letters, digits and . _ -, the first a letter or digit"

_Z85: Final = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_OPTION: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_ADDRESS: Final = re.compile(r"tcp://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]{1,253}):([1-9][0-9]{0,4})")
_LABEL: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")


def shown(value: object) -> str:
    """Return a value as one short line that cannot upset a terminal."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and abs(value) > 2**64:
        return "a huge integer"
    if isinstance(value, list):
        return "an array"
    if isinstance(value, Mapping):
        return "a table"
    text = value.hex() if isinstance(value, bytes) else ascii(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def problems(run: RunFile) -> Iterator[str]:
    """Say, a line each with its place, what makes a genesis unusable (spec GEN-3, GEN-4)."""
    names = ("name", "seed", "evaluate_every", "numerics", "bulk_security")
    top = {name: getattr(run, name) for name in names}
    return value_problems(top, run.task, run.parameters, run.timing, run.peers)


def value_problems(
    top: Mapping[str, object],
    task: TaskSection | None,
    parameters: Parameters | None,
    timing: Timing | None,
    peers: Sequence[PeerEntry | None] | None,
) -> Iterator[str]:
    """Say, a line each with its place, what is wrong with the values of a genesis.

    What could not be read is None, or missing in ``top``; the rest is still judged.
    """
    yield from _top_problems(top)
    if task is not None:
        yield from _placed("[task]", _task_problems(task))
        yield from _placed("[task.options]", _option_problems(task.options))
    if parameters is not None:
        yield from _placed("[parameters]", _too_large(asdict(parameters)))
        if peers is not None:
            yield from _placed("[parameters]", parameters.problems(len(peers)))
        if top.get("numerics") == "tolerant" and parameters.gradient_rtol < MIN_TOLERANT_RTOL:
            yield (
                f'[parameters] gradient_rtol = {parameters.gradient_rtol}: numerics are "tolerant", and honest '
                f"peers would be accused below {MIN_TOLERANT_RTOL:g}; let btard init propose one"
            )
    if timing is not None:
        yield from _placed("[timing]", [*_too_large(asdict(timing)), *timing.problems()])
    if peers is not None:
        yield from roster_problems(peers)


def _placed(place: str, lines: Iterable[str]) -> Iterator[str]:
    return (f"{place} {line}" for line in lines)


def _too_large(values: Mapping[str, object]) -> Iterator[str]:
    for name, value in values.items():
        if isinstance(value, int) and abs(value) > MAX_INTEGER:
            yield f"{name} = {shown(value)}: must not be more than {MAX_INTEGER}"


def _top_problems(top: Mapping[str, object]) -> Iterator[str]:
    yield from _too_large(top)
    checks: dict[str, tuple[Callable[[object], bool], str]] = {
        "name": (is_name, NAME_RULE),
        "seed": (_is_digest, "must be 32 bytes"),
        "evaluate_every": (lambda value: isinstance(value, int) and value >= 1, "must be at least 1 step"),
        "numerics": (NUMERICS.__contains__, f"must be {_either(NUMERICS)}"),
        "bulk_security": (BULK_SECURITY.__contains__, f"must be {_either(BULK_SECURITY)}"),
    }
    for name, (holds, rule) in checks.items():
        if name in top and not holds(top[name]):
            yield f"{name} = {shown(top[name])}: {rule}"


def _either(choices: Iterable[str]) -> str:
    return " or ".join(f'"{choice}"' for choice in choices)


def is_name(value: object) -> bool:
    """Tell whether a run or a peer may have this name."""
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


def _is_digest(value: object) -> bool:
    return isinstance(value, bytes) and len(value) == HASH_SIZE


def _is_text(value: str) -> bool:
    return len(value) <= MAX_TEXT and value.isprintable()


def _task_problems(task: TaskSection) -> Iterator[str]:
    if not task.name or not _is_text(task.name):
        yield f"name = {shown(task.name)}: must be 1 to {MAX_TEXT} printable characters"
    for name, value in (("model_digest", task.model_digest), ("data_digest", task.data_digest)):
        if not _is_digest(value):
            yield f"{name} = {shown(value)}: must be {HASH_SIZE} bytes"


def _option_problems(options: Mapping[str, OptionValue]) -> Iterator[str]:
    if len(options) > MAX_OPTIONS:
        yield f"{len(options)} options: at most {MAX_OPTIONS} are allowed"
        return
    for name, value in sorted(options.items()):
        if not is_option_name(name):
            yield (
                f"{shown(name)} = {shown(value)}: an option is named by 1 to 64 letters, digits and _, "
                f"no digit first, and is not {_either(RESERVED_OPTIONS)}"
            )
        if isinstance(value, str) and not _is_text(value):
            yield f"{name} = {shown(value)}: must be at most {MAX_TEXT} printable characters"
        if isinstance(value, float) and math.isnan(value):
            yield f"{name} = nan: must be a number"
        if isinstance(value, int) and abs(value) >= 2**63:
            yield f"{name} = {shown(value)}: must fit in 64 bits"


def is_option_name(text: str) -> bool:
    """Tell whether a task may have an option of this name."""
    return _OPTION.fullmatch(text) is not None and text not in RESERVED_OPTIONS


def roster_problems(peers: Sequence[PeerEntry | None]) -> Iterator[str]:
    """Say, a line each, what is wrong with a roster apart from its being too small (spec GEN-4)."""
    if len(peers) > MAX_PEERS:
        yield f"[[peers]] {len(peers)} peers: at most {MAX_PEERS} are allowed"
        return
    read = [(number, peer) for number, peer in enumerate(peers, 1) if peer is not None]
    for number, peer in read:
        yield from _placed(peer_place(number, peer.name), _peer_problems(peer))
    unique: dict[str, list[Hashable]] = {
        "name": [peer.name for _, peer in read],
        "sign_key": [peer.sign_key for _, peer in read],
        "curve_key": [peer.curve_key for _, peer in read],
        "address": [address.lower() for _, peer in read for address in (peer.control, peer.bulk)],
    }
    for what, values in unique.items():
        yield from _placed("[[peers]]", _repeated(what, values))


def peer_place(number: int, name: object) -> str:
    """Return how problem lines call the peer that stands at place ``number``, from 1, in its file."""
    return f"[[peers]] number {number} ({shown(name)})"


def _repeated(what: str, values: Iterable[Hashable]) -> Iterator[str]:
    for value, times in Counter(values).items():
        if times > 1:
            yield f"{what} = {shown(value)} stands {times} times: every peer needs its own"


def _peer_problems(peer: PeerEntry) -> Iterator[str]:
    if not is_name(peer.name):
        yield f"name = {shown(peer.name)}: {NAME_RULE}"
    if len(peer.sign_key) != 32 or not crypto_core_ed25519_is_valid_point(peer.sign_key):
        yield f"sign_key = {shown(peer.sign_key)}: is no Ed25519 public key; take it from keygen's output"
    if not is_curve_key(peer.curve_key):
        yield f"curve_key = {shown(peer.curve_key)}: is no CURVE public key; take it from keygen's output"
    for name, value in (("control", peer.control), ("bulk", peer.bulk)):
        if not is_address(value):
            yield f"{name} = {shown(value)}: must be tcp://host:port where the other peers can reach this one"


def is_curve_key(text: str) -> bool:
    """Tell whether ``text`` is 40 characters of Z85 that stand for 32 bytes."""
    if len(text) != 40 or not set(text) <= set(_Z85):
        return False
    groups = (text[start : start + 5] for start in range(0, 40, 5))
    return all(sum(_Z85.index(c) * 85 ** (4 - i) for i, c in enumerate(group)) < 2**32 for group in groups)


def is_address(text: str) -> bool:
    """Tell whether ``text`` is tcp://host:port with a host that others can connect to."""
    match = _ADDRESS.fullmatch(text)
    if match is None or int(match[2]) > 65535:
        return False
    host = match[1]
    if host.startswith("[") or host.rpartition(".")[2].isdecimal():
        try:
            family = ipaddress.IPv6Address if host.startswith("[") else ipaddress.IPv4Address
            return not family(host.strip("[]")).is_unspecified
        except ValueError:
            return False
    return all(_LABEL.fullmatch(label) for label in host.split("."))
