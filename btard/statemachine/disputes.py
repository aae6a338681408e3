"""Which parts the VALIDATE transcript disputes: verifications 2 and 3 (spec VER-7, VER-8; BND-1, BND-2).

Computed from broadcast numbers in exact or correctly rounded arithmetic, so that all peers come to the same
parts.
"""

from __future__ import annotations

from collections.abc import Sequence

from btard.consensus import exact_sum, row_norm
from btard.robust.encoding import SKETCH_SIZE, unpack_norms, unpack_rows
from btard.robust.tolerances import sum_threshold
from btard.statemachine.messages import Validate
from btard.statemachine.parameters import Parameters
from btard.statemachine.state import State


def disputed_parts(
    parameters: Parameters, state: State, scalars: tuple[Validate, ...]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the disputed parts, and those of them that verification 3 alone disputes.

    ``scalars`` are the contributors' VALIDATE messages of the current step, in roster order.
    """
    sums: list[int] = []
    alarms: list[int] = []
    if not scalars:
        return (), ()
    distances = [unpack_norms(body.norms) for body in scalars]
    typical = median([median(norms) for norms in distances])
    for part in range(len(state.at.aggregators)):
        norms = [norms[part] for norms in distances]
        if _sum_is_off(parameters, state.at.aggregate_norms[part], norms, scalars, part):
            sums.append(part)
            continue
        ceiling = parameters.alarm_factor * max(typical, _excused(parameters, state, part))
        if 2 * sum(norm > ceiling for norm in norms) > len(norms):
            alarms.append(part)
    return tuple(sorted(sums + alarms)), tuple(alarms)


def _sum_is_off(
    parameters: Parameters,
    aggregate_norm: float,
    norms: list[float],
    scalars: tuple[Validate, ...],
    part: int,
) -> bool:
    span = slice(part * SKETCH_SIZE, (part + 1) * SKETCH_SIZE)
    sketches = [unpack_rows(body.sketches[span]) for body in scalars]
    threshold = sum_threshold(norms, aggregate_norm, parameters.tau)
    for rows in zip(*sketches, strict=True):
        total = [exact_sum(buckets) for buckets in zip(*rows, strict=True)]
        if not row_norm(total) <= threshold:
            return True
    return False


def median(numbers: Sequence[float]) -> float:
    """Return the entry in the middle, of two the larger (spec VER-8).

    Where more than half of the numbers are honest, it is no larger than the largest honest one.
    """
    return sorted(numbers)[len(numbers) // 2]


def _excused(parameters: Parameters, state: State, part: int) -> float:
    """Return how far the aggregator of ``part`` has lately been from most without being at fault."""
    last = state.alarms.get(state.at.aggregators[part])
    recent = last is not None and state.at.number - last.step < parameters.window
    return last.norm if last is not None and recent else 0.0
