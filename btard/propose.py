"""What `btard init` proposes from the peers' measurements: tolerance and times, each with its reason.

Without torch and without I/O. Measurements come from others: they propose, whoever writes the run file decides.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Final

from attrs import frozen

from btard.measured import Measured
from btard.robust.tolerances import LOOKS, Level
from btard.statemachine.config import faults

EXACT_RTOL: Final = 1e-6
"""Where all peers compute equal bits: only a bug makes a difference."""

TOLERANT_RTOL: Final = 1e-4
"""The least between numerics classes."""

LARGEST_RTOL: Final = 0.1

DEVIATION_FACTOR: Final = 16.0
"""4, since a sketch row of a deviation can be longer than the deviation (TOL-4), times 4 for the seeds, models
and machines that were not measured."""

_CONVERGED: Final = 0.02
"""The most that is proposed for a converged model's small gradients alone."""

BUSY_FACTOR: Final = 4.0
"""A machine that does other things as well, or throttles, may take so many times as long as it took."""

LEAST_MS: Final = 1000
"""For messages, signatures and scheduling: a bound costs nothing unless a peer falls silent."""

_HOPS: Final = 10.0  # round trips that queueing, loss and verification may make of one way
_BULK_FACTOR: Final = 2.0


@frozen
class Proposal:
    """A value, and what it follows from, in words."""

    value: float | str
    why: str


class TooDifferentError(ValueError):
    """No tolerance covers these machines; the message says in a line which, and what to do."""


def numerics(measured: Mapping[str, Measured | None], tau: float) -> tuple[Proposal, Proposal]:
    """Return the proposals for `numerics` and `gradient_rtol`; `measured` is by peers' names.

    Raises TooDifferentError.
    """
    known = {name: found for name, found in measured.items() if found is not None}
    classes = {(found.machine, found.canaries) for found in known.values()}
    if len(classes) < 2:
        all_of = f"all {len(known)}" if len(known) == len(measured) else f"{len(known)} of {len(measured)}"
        why = f"equal canaries and machines at {all_of} peers" if known else "assumed: nothing measured"
        return Proposal("exact", why), Proposal(EXACT_RTOL, "equal bits need no more")
    pair, apart = max(
        (((a, b), known[a].deviation(known[b])) for a, b in combinations(known, 2)), key=lambda entry: entry[1]
    )
    relative = max(apart, _two_largest(found.relative for found in known.values()))
    absolute = _two_largest(found.absolute for found in known.values())
    least = DEVIATION_FACTOR * relative
    converged = math.sqrt(DEVIATION_FACTOR * absolute / tau) if math.isfinite(tau) else 0.0
    value = _rounded_up(max(TOLERANT_RTOL, least, min(converged, _CONVERGED)))
    if not value <= LARGEST_RTOL:
        raise TooDifferentError(
            f"gradients of {pair[0]} and {pair[1]} are off by {apart:.1e}, in training by {relative:.1e}: that "
            f"would need a gradient_rtol of {value:.1e}, and more than {LARGEST_RTOL:g} lets every cheat pass; "
            "compute in full float32 precision everywhere, or leave a machine out"
        )
    reason = (
        f"{len(classes)} numerics classes, deviation {relative:.1e} x {DEVIATION_FACTOR:g}"
        if value == _rounded_up(least)
        else f"{len(classes)} numerics classes, small gradients off by {absolute:.1e}, x {DEVIATION_FACTOR:g}"
    )
    return Proposal("tolerant", f"{pair[0]} and {pair[1]} are off by {apart:.1e}"), Proposal(value, reason)


def _two_largest(values: Iterator[float]) -> float:
    """Two machines are each so far off from a third."""
    return sum(sorted(values)[-2:])


def _rounded_up(value: float) -> float:
    """Return the next number of two digits."""
    if not (0 < value < math.inf):
        return value
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return float(f"{math.ceil(value / unit * (1 - 1e-12)) * unit:.1e}")


def needed_ms(times: Measured | Mapping[str, float], mixed: bool, validators: int) -> dict[str, float]:
    """Return how long a machine takes for what each compute bound is for, in milliseconds.

    Of each validator's target a claim may be made, and in place of that a report, judged before COMMIT.
    """
    values = times if isinstance(times, Mapping) else _times(times)
    gradient, update, sketch = values["gradient_ms"], values["update_ms"], values["sketch_ms"]
    clip, hashing, writing = values["clip_ms"], values["hash_ms"], values["write_ms"]
    looks = {level: looks.number if mixed else 0 for level, looks in LOOKS.items()}
    look = gradient + sketch
    judged = validators * (2 * sketch + 2 * gradient + looks[Level.VOTE] * look)
    return {
        "c_commit": update + writing + 2 * gradient + hashing + judged,
        "c_aggregate": clip + hashing,
        "c_reveal": hashing,
        "c_validate": 2 * sketch + looks[Level.ACCUSE] * look,
        "c_accuse": clip + 3 * sketch + gradient + 2 * looks[Level.ACCUSE] * look,
        "c_judge": clip + sketch + judged,
        "c_publish": hashing,
    }


def _times(measured: Measured) -> dict[str, float]:
    return {
        "gradient_ms": measured.gradient_ms,
        "update_ms": measured.update_ms,
        "sketch_ms": measured.sketch_ms,
        "clip_ms": measured.clip_ms,
        "hash_ms": measured.hash_ms,
        "write_ms": measured.write_ms,
    }


def compute_bounds(
    measured: Mapping[str, Measured | None], mixed: bool, validators: int, defaults: Mapping[str, int]
) -> dict[str, Proposal]:
    """Return the proposals for the bounds c_*; a peer that did not measure counts with the `defaults`."""
    needed = {
        name: needed_ms(found, mixed, validators) for name, found in measured.items() if found is not None
    }
    missing = [name for name, found in measured.items() if found is None]
    proposals = {}
    for bound, default in defaults.items():
        if not needed:
            proposals[bound] = Proposal(default, "assumed: nothing measured")
            continue
        slowest = max(needed, key=lambda name: needed[name][bound])
        longest = needed[slowest][bound]
        value = max(LEAST_MS, math.ceil(BUSY_FACTOR * longest))
        why = f"{slowest} takes {longest:.3g} ms, x {BUSY_FACTOR:g}, at least {LEAST_MS}"
        if missing and value <= default:
            value, why = default, f"assumed: no measurement of {_names(missing)}"
        proposals[bound] = Proposal(value, why)
    return proposals


def delay(round_trips: Mapping[str, float | None], default: int) -> Proposal:
    """Return the proposal for delta from round trips in milliseconds, None for peers that do not listen yet."""
    silent = [name for name, found in round_trips.items() if found is None]
    reached = {name: found for name, found in round_trips.items() if found is not None}
    if not reached:
        return Proposal(default, "assumed: no peer listens yet")
    farthest = max(reached, key=lambda name: reached[name])
    value = max(default, math.ceil(_HOPS * reached[farthest]))
    why = f"{farthest} is {reached[farthest]:.3g} ms away and back, x {_HOPS:g}, at least {default}"
    return Proposal(value, f"{why}; no answer from {_names(silent)}" if silent else why)


def bulk_delay(delta: int, dimension: int, bandwidth: float, given: bool, least: int, peers: int) -> Proposal:
    """Return the proposal for delta_bulk: a phase moves a vector each way, at `bandwidth` Mbit/s.

    And as many again as peers may lie that a part did not come, each of which has it published (spec STP-16).
    """
    vectors = 1 + faults(peers)
    sending = 4 * dimension * 8 / (bandwidth * 1000)
    value = max(least, math.ceil(2 * delta + _BULK_FACTOR * vectors * sending))
    source = "given" if given else "assumed"
    moved = f"{4 * dimension / 1e6:.3g} MB a phase at {bandwidth:g} Mbit/s ({source})"
    why = f"2 delta, and {moved}: {sending:.3g} ms, x {_BULK_FACTOR:g}"
    return Proposal(value, f"{why} x {vectors} where {vectors - 1} have parts published; at least {least}")


def _names(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
