"""What the tolerance of recomputed gradients lets pass: lemma 7."""

import math

import pytest
import torch

from benchmarks.bounds.measure import directions, normal, passed
from benchmarks.bounds.shifts import passed_gradient
from btard.robust.centered_clip import centered_clip, distances
from btard.robust.judging import gradient_is_off
from btard.robust.scalars import scalars
from btard.robust.sketch import Sketcher
from btard.robust.tolerances import Level

DIMENSION = 300


@pytest.mark.parametrize("tau", [0.1, 10.0])
@pytest.mark.parametrize("gradient_rtol", [0.0, 1e-6, 1e-3, 0.1])
def test_what_one_contributor_changes_unseen_is_within_the_bound_and_near_it(
    gradient_rtol: float, tau: float
) -> None:
    case = passed(gradient_rtol, tau, DIMENSION, keys=5)
    for reached in (case.dense, case.one_coordinate):
        assert reached <= case.bound
        assert reached >= case.bound / 5 or gradient_rtol == 0


@pytest.mark.parametrize("tau", [0.1, 10.0])
@pytest.mark.parametrize("offset", [0.0, 20.0])
def test_a_gradient_farther_off_than_the_bound_is_accused_in_every_direction(tau: float, offset: float) -> None:
    rtol = 1e-3
    part, aggregate, centre = normal(3, DIMENSION, seed=3)
    part, aggregate = part + offset * centre, aggregate + offset * centre
    norm, length = distances([part], aggregate)[0], float(part.double().norm())
    bound = passed_gradient(length, norm, tau, rtol)
    for direction in directions(DIMENSION):
        size = 1.01 * bound / min(1.0, tau / norm)
        wrong = (part.double() + size * direction.vector).float()
        change = _clip(wrong - aggregate, tau) - _clip(part - aggregate, tau)
        assert float(change.norm()) > 0.5 * bound
        for key in range(10):
            sketcher = Sketcher(bytes([key]) * 32)
            own, sent = (scalars(g, aggregate, tau, sketcher, 0) for g in (part, wrong))
            packed = (sent.packed_rows(), sent.packed_norm())
            assert gradient_is_off(own, length, *packed, tau, rtol, Level.ACCUSE)


@pytest.mark.parametrize("tau", [0.3, 3.0])
def test_all_cheats_together_shift_the_aggregate_by_no_more_than_their_share(tau: float) -> None:
    """Three of seven, all in one direction: 3 / 4 of the bound where the honest lie within tau."""
    rtol, honest, byzantine = 1e-2, 4, 3
    parts = normal(honest + byzantine, DIMENSION, seed=5)
    v = centered_clip(parts, tau)
    direction = directions(DIMENSION)[-1].vector
    sizes = [6 * rtol * float(part.double().norm()) for part in parts]
    wrong = [
        part if place < honest else (part.double() + size * direction).float()
        for place, (part, size) in enumerate(zip(parts, sizes, strict=True))
    ]
    shift = distances([centered_clip(wrong, tau)], v)[0]
    near = distances(parts, v)
    bound = sum(
        passed_gradient(float(part.double().norm()), norm, tau, rtol)
        for part, norm in zip(parts[honest:], near[honest:], strict=True)
    )
    if tau > max(near) + bound:
        assert 0.5 * bound / len(parts) < shift <= bound / honest
    else:
        # outside of the ball a difference gives way across its own direction only
        stiffness = sum(tau / norm for norm in near[:honest]) * (1 - 4 / math.sqrt(DIMENSION))
        assert shift <= bound / stiffness


def _clip(x: torch.Tensor, tau: float) -> torch.Tensor:
    return x * min(1.0, tau / float(x.norm()))
