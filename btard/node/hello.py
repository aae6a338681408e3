"""The handshake before a run: whom a peer waits for, and whether all mean the same run (spec GEN-7)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cbor2
from attrs import asdict, frozen

from btard.robust.deviation import RECORD_SIZE, largest_deviation
from btard.wire import WireError, parse_canonical

MAX_HELLO = 4096 + 16 * RECORD_SIZE


@frozen
class Hello:
    """What a peer says about itself over its authenticated link."""

    version: str
    run: bytes
    model: bytes  # digest of parameters and optimizer before step 0
    canary: bytes  # digest of a gradient from a fixed seed
    scalars: bytes  # sketches and norms of that gradient (spec TRN-20)
    numerics: Mapping[str, Any]  # a fingerprint of the numerics class
    start: bytes = b""  # drawn by the process: two that say hello with one key can be told
    to: bytes = b""  # the `start` of the process that this answers, empty where it is not known


def encode_hello(hello: Hello) -> bytes:
    """Return the frame."""
    return cbor2.dumps(["hello", asdict(hello)], canonical=True)


def decode_hello(data: bytes) -> Hello | None:
    """Return what another peer says of itself; None where the frame is no hello (spec MSG-1).

    Everything in it is something to compare and show, nothing is trusted. Another version may say hello in
    another form: of that, only the version is taken, and the rest is empty.
    """
    if not data.startswith(b"\x82\x65hello"):
        return None
    try:
        record = parse_canonical(data, MAX_HELLO)
    except WireError:
        return None
    match record:
        case [
            "hello",
            {
                "version": str(version),
                "run": bytes(run),
                "model": bytes(model),
                "canary": bytes(canary),
                "scalars": bytes(scalars),
                "numerics": dict(numerics),
                "start": bytes(start),
                "to": bytes(to),
                **rest,
            },
        ] if not rest:
            return Hello(version, run, model, canary, scalars, numerics, start, to)
        case ["hello", {"version": str(version)}]:
            return Hello(version, b"", b"", b"", b"", {})
    return None


def disagreement(mine: Hello, other: Hello, differences: str, tolerance: float | None) -> str | None:
    """Say in a line what keeps two peers from one run; None if nothing does (spec GEN-7).

    ``differences`` names how the numerics classes differ, empty if they do not. ``tolerance`` is how far the
    canaries' scalars may be apart, relative to their lengths; None where gradients have to be equal.
    """
    if other.version != mine.version:
        theirs = "".join(c if c.isprintable() else "?" for c in other.version[:20])
        return f"it runs btard {theirs}, here {mine.version}: install the same version"
    if not other.run:
        return "it says hello in a form that this peer does not know: install the same btard on both"
    if other.run != mine.run:
        return (
            f"it has another run file (run {other.run.hex()[:8]}, here {mine.run.hex()[:8]}): "
            "give all peers the same file"
        )
    if other.model != mine.model:
        return "it starts from another model: its task code, torch build or data differ from those here"
    if other.canary != mine.canary:
        return _other_gradients(largest_deviation(mine.scalars, other.scalars), differences, tolerance)
    return None


def _other_gradients(deviation: float, differences: str, tolerance: float | None) -> str | None:
    """Say what other gradients than one's own mean for a run."""
    classes = differences or "same numerics class on paper; compare processors and torch builds"
    if tolerance is None:
        return (
            f"it computes other gradients than this peer (off by {deviation:.1e} of their length), and the run "
            f'file\'s numerics are "exact": make the machines equal, or write it with "tolerant": {classes}'
        )
    if deviation <= tolerance:
        return None
    return (
        f"its gradients are off by {deviation:.1e} of their length; gradient_rtol leaves {tolerance:.1e} for "
        f"honest peers: use full float32 precision at both, or a larger gradient_rtol: {classes}"
    )
