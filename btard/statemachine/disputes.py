"""Which parts the VALIDATE transcript disputes: verifications 2 and 3 (spec VER-7, VER-8).

Computed from broadcast numbers in exact or correctly rounded arithmetic, so that all peers come to the same
parts.
"""

from __future__ import annotations

from btard.consensus import exact_sum, row_norm
from btard.robust.encoding import SKETCH_SIZE, unpack_norms, unpack_rows
from btard.robust.tolerances import sum_threshold
from btard.statemachine.messages import Validate
from btard.statemachine.parameters import Parameters
from btard.statemachine.state import Record, State


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
    ceiling = _ceiling(parameters, state.last)
    for part in range(len(state.at.aggregators)):
        norms = [unpack_norms(body.norms)[part] for body in scalars]
        if _sum_is_off(parameters, state.at.aggregate_norms[part], norms, scalars, part):
            sums.append(part)
        elif 2 * sum(norm > ceiling for norm in norms) > len(norms) and _may_alarm(parameters, state, part):
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


def _ceiling(parameters: Parameters, last: Record | None) -> float:
    """Return Delta_max: so many times the median norm in the last certified transcript (spec VER-8)."""
    norms = sorted(norm for packed in (last.norms if last else ()) for norm in unpack_norms(packed))
    return parameters.alarm_factor * norms[len(norms) // 2] if norms else float("inf")


def _may_alarm(parameters: Parameters, state: State, part: int) -> bool:
    last = state.alarms.get(state.at.aggregators[part])
    return last is None or state.at.number - last >= parameters.window
