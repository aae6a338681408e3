"""Who does what in a step, drawn from the last step's election value (spec ELE)."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from btard.consensus import Draws
from btard.hashing import digest


@frozen
class Pair:
    """``validator`` recomputes the gradient that ``target`` contributed in the step before."""

    validator: int
    target: int


def _number(value: int) -> bytes:
    return value.to_bytes(8, "little")


def gradient_seed(run: bytes, election: bytes, step: int, peer: int) -> bytes:
    """Return the 32-byte public seed from which ``peer`` draws its examples in ``step`` (spec ELE-1)."""
    return digest("gradient seed", run, election, _number(step), _number(peer))


def assign_parts(run: bytes, election: bytes, epoch: int, step: int, roster: Sequence[int]) -> tuple[int, ...]:
    """Return the aggregator of each part: a permutation of the roster (spec ELE-2)."""
    draws = Draws("assignment", run, election, _number(epoch), _number(step))
    return tuple(roster[place] for place in draws.permutation(len(roster)))


def draw_pairs(
    run: bytes, election: bytes, step: int, contributors: Sequence[int], validators: int
) -> tuple[Pair, ...]:
    """Return the pairs that in ``step`` check the step before, among its contributors (spec ELE-3).

    No peer is in two pairs, so there are fewer than ``validators`` where the contributors do not suffice.
    """
    count = min(validators, len(contributors) // 2)
    drawn = Draws("pairs", run, election, _number(step)).sample(2 * count, len(contributors))
    chosen = [contributors[place] for place in drawn]
    return tuple(Pair(chosen[2 * i], chosen[2 * i + 1]) for i in range(count))


def closing_steps(contributors: int, validators: int) -> int:
    """Return how many closing steps look at so many contributions of the last training step (spec STP-15)."""
    return -(-contributors // validators) if validators and contributors > 1 else 0


def closing_pairs(
    run: bytes, election: bytes, last: int, k: int, contributors: Sequence[int], validators: int
) -> tuple[Pair, ...]:
    """Return the pairs of the ``k``-th closing step after training step ``last``, k from 1 (spec ELE-5).

    ``election`` is the election value of step ``last``, ``contributors`` are those of that step.
    """
    count = len(contributors)
    order = Draws("closing pairs", run, election, _number(last)).permutation(count)
    dealt = [contributors[place] for place in order]
    chosen = range((k - 1) * validators, min(k * validators, count))
    return tuple(Pair(dealt[(i + 1) % count], dealt[i]) for i in chosen)
