import math
import struct

import pytest
import torch
from torch import Tensor

from btard.robust.centered_clip import centered_clip
from btard.robust.judging import aggregate_is_off, gradient_is_off, scalars_are_off
from btard.robust.scalars import Scalars, plain, scalars
from btard.robust.sketch import Sketcher
from btard.robust.tolerances import Level

SKETCHER = Sketcher(bytes(range(32)))
TAU = 2.0


def randn(count: int, seed: int, length: int = 200) -> list[Tensor]:
    return list(torch.randn(count, length, generator=torch.Generator().manual_seed(seed)))


@pytest.mark.refuses("TOL-2", "AGG-2", "VER-4")
@pytest.mark.parametrize("shift", [1e-4, 1.0, 1e6, 1e20])
@pytest.mark.parametrize("level", list(Level))
def test_a_moved_aggregate_is_off(shift: float, level: Level) -> None:
    parts = randn(16, seed=0)
    v = centered_clip(parts, TAU)
    assert not aggregate_is_off(parts, v, TAU, level)
    (direction,) = randn(1, seed=1)
    assert aggregate_is_off(parts, v + shift * TAU * direction, TAU, level)


@pytest.mark.refuses("TOL-2", "TOL-6")
@pytest.mark.parametrize("scale", [1e3, 1e9, 1e20, 1e36])
@pytest.mark.parametrize("followers", [1, 7])
def test_an_aggregate_is_off_though_liars_follow_it_far_away(scale: float, followers: int) -> None:
    (far,) = randn(1, seed=2)
    parts = randn(15 - followers, seed=0) + [scale * far] * followers
    assert aggregate_is_off(parts, scale * far, TAU, Level.ACCUSE)
    assert not aggregate_is_off(parts, centered_clip(parts, TAU), TAU, Level.VOTE)


@pytest.mark.shows("VER-2", "TOL-3")
def test_honest_scalars_fit() -> None:
    g, aggregate = randn(2, seed=3)
    own = scalars(g, aggregate, TAU, SKETCHER, 11)
    assert not scalars_are_off(own, own.packed_rows(), own.packed_norm(), TAU, Level.VOTE)


@pytest.mark.refuses("VER-2", "TOL-3")
def test_scalars_of_another_part_aggregate_key_or_place_are_off() -> None:
    g, aggregate, other = randn(3, seed=3)
    own = scalars(g, aggregate, TAU, SKETCHER, 11)
    lies = [
        scalars(other, aggregate, TAU, SKETCHER, 11),
        scalars(g, other, TAU, SKETCHER, 11),
        scalars(g, aggregate, TAU, Sketcher(bytes(32)), 11),
        scalars(g, aggregate, TAU, SKETCHER, 12),
        scalars(g, aggregate, TAU * (1 + 1e-6), SKETCHER, 11),
        plain(g, TAU, SKETCHER, 11),
        Scalars(own.rows, own.norm * (1 + 1e-6)),
        Scalars(-own.rows, own.norm),
        Scalars(own.rows * math.nan, own.norm),
    ]
    for lie in lies:
        assert scalars_are_off(own, lie.packed_rows(), lie.packed_norm(), TAU, Level.ACCUSE)


@pytest.mark.refuses("SKT-5")
def test_scalars_of_another_size_are_refused() -> None:
    own = plain(randn(1, seed=3)[0], TAU, SKETCHER, 0)
    with pytest.raises(ValueError, match="no whole sketches"):
        scalars_are_off(own, own.packed_rows()[:-8], own.packed_norm(), TAU, Level.VOTE)
    with pytest.raises(ValueError):
        scalars_are_off(own, own.packed_rows(), struct.pack("<2d", 1.0, 1.0), TAU, Level.VOTE)


@pytest.mark.shows("TOL-4")
@pytest.mark.parametrize("tau", [0.3, 50.0])
def test_a_gradient_that_other_hardware_computed_fits(tau: float) -> None:
    g, aggregate, noise = randn(3, seed=4)
    theirs = g + 1e-4 * noise * (g.norm() / noise.norm())
    sent = scalars(theirs, aggregate, tau, SKETCHER, 0)
    own, length = scalars(g, aggregate, tau, SKETCHER, 0), float(g.double().norm())
    for level in Level:
        assert not gradient_is_off(own, length, sent.packed_rows(), sent.packed_norm(), tau, 4e-4, level)
        assert gradient_is_off(own, length, sent.packed_rows(), sent.packed_norm(), tau, 0.0, level)


@pytest.mark.refuses("TOL-4", "VER-1")
@pytest.mark.parametrize("attack", ["sign", "scale", "other", "small"])
def test_a_wrong_gradient_is_off(attack: str) -> None:
    g, aggregate, other = randn(3, seed=5)
    wrong = {"sign": -g, "scale": 1000 * g, "other": other, "small": g + 0.02 * other}[attack]
    sent = scalars(wrong, aggregate, TAU, SKETCHER, 0)
    own, length = scalars(g, aggregate, TAU, SKETCHER, 0), float(g.double().norm())
    assert gradient_is_off(own, length, sent.packed_rows(), sent.packed_norm(), TAU, 1e-3, Level.ACCUSE)
