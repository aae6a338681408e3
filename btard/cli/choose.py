"""What `btard init` takes for tolerance and times: what was given, else what measurements propose."""

from __future__ import annotations

import argparse
import socket
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from attrs import frozen

from btard import propose
from btard.errors import BtardError
from btard.genesis import PeerEntry, TaskSection
from btard.measured import Measured, load_peer_file
from btard.propose import Proposal

DELAYS_MS: Final[Mapping[str, tuple[int, str]]] = {
    "delta": (1000, "largest delay of a control message"),
    "delta_bulk": (3000, "largest delay of all vectors of a phase"),
    "c_commit": (5000, "longest time for update, gradient and validation"),
    "c_aggregate": (2000, "longest time to aggregate a part"),
    "c_reveal": (1000, "longest time to check the aggregates"),
    "c_validate": (3000, "longest time for sketches and norms"),
    "c_accuse": (3000, "longest time for verifications 1 to 3"),
    "c_judge": (6000, "longest time to recompute what a claim is about"),
    "c_publish": (1000, "longest time to publish a part"),
}
"""Delays and compute bounds for a local network and processors: default in milliseconds, and meaning."""


_TRIES: Final = 3
_CONNECTIONS: Final = 32
_CONNECT_SECONDS: Final = 1.0


@frozen
class TaskIdentity:
    """What is known of the run's task."""

    section: TaskSection
    dimension: int
    batch_size: int
    measured_model: bytes  # digest of the model that `btard measure` makes of it
    mixed_problems: tuple[str, ...]  # why peers of several numerics classes cannot train it


def load_all(files: Sequence[Path]) -> tuple[tuple[PeerEntry, ...], dict[str, Measured | None]]:
    """Return the roster, and what was measured on whose machine."""
    peers: list[PeerEntry] = []
    measured: dict[str, Measured | None] = {}
    for file in files:
        found, machine = load_peer_file(file)
        peers += found
        measured |= {peer.name: machine for peer in found}
    return tuple(peers), measured


def choose(
    options: argparse.Namespace,
    peers: Sequence[PeerEntry],
    measured: Mapping[str, Measured | None],
    task: TaskIdentity,
) -> dict[str, Proposal]:
    """Return for each value that depends on machines and links what was given, else what is proposed."""
    _check_measured(measured, task)
    try:
        numerics, rtol = propose.numerics(measured, options.tau)
    except propose.TooDifferentError as error:
        raise BtardError(str(error)) from error
    if options.numerics == "tolerant" and numerics.value == "exact":
        rtol = Proposal(propose.TOLERANT_RTOL, "the least for tolerant numerics; measure to know")
    mixed = (options.numerics or numerics.value) == "tolerant"
    bounds = {name: default for name, (default, _) in DELAYS_MS.items() if name.startswith("c_")}
    default_delta = DELAYS_MS["delta"][0]
    delta = (
        propose.delay(_round_trips(peers), default_delta)
        if options.delta_ms is None
        else Proposal(options.delta_ms, "given")
    )
    bandwidth = options.bandwidth_mbit
    least = DELAYS_MS["delta_bulk"][0]
    bulk = propose.bulk_delay(
        int(delta.value), task.dimension, bandwidth or 100.0, bandwidth is not None, least, len(peers)
    )
    proposals = {"numerics": numerics, "gradient_rtol": rtol, "delta": delta, "delta_bulk": bulk}
    proposals |= propose.compute_bounds(measured, mixed, options.validators, bounds)
    return {name: _given(options, name, proposal) for name, proposal in proposals.items()}


def _check_measured(measured: Mapping[str, Measured | None], task: TaskIdentity) -> None:
    """Raise BtardError with a line for each peer that has measured something else than this task."""
    own = (task.batch_size, task.measured_model, task.section.data_digest)
    odd = [
        f"{name} has measured {found.task!r} with other options, model or data than the run: let it measure "
        f"{task.section.name!r} with the run's options (btard measure --task ... --task-option ...)"
        for name, found in measured.items()
        if found is not None and (found.batch_size, found.model_digest, found.data_digest) != own
    ]
    if odd:
        raise BtardError("\n".join(odd))


def _given(options: argparse.Namespace, name: str, proposal: Proposal) -> Proposal:
    """Return what was given for a value, else the proposal."""
    flag = name if name in ("numerics", "gradient_rtol") else f"{name}_ms"
    given = getattr(options, flag)
    return proposal if given is None else Proposal(given, "given")


def _round_trips(peers: Sequence[PeerEntry]) -> dict[str, float | None]:
    """Return the milliseconds that a connection to each peer takes, None where nobody listens."""
    names, addresses = [peer.name for peer in peers], [peer.control for peer in peers]
    with ThreadPoolExecutor(max_workers=_CONNECTIONS) as pool:
        return dict(zip(names, pool.map(_round_trip, addresses), strict=True))


def _round_trip(address: str) -> float | None:
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    longest = 0.0
    for _ in range(_TRIES):
        began = time.perf_counter()
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_SECONDS).close()
        except OSError:
            return None
        longest = max(longest, time.perf_counter() - began)
    return 1000 * longest
