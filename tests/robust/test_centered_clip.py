import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from benchmarks.centered_clip import hostile, residual_per_nu, textbook
from btard.robust.centered_clip import centered_clip, distances, residual_norm
from btard.robust.judging import aggregate_is_off
from btard.robust.tolerances import Level
from tests.robust.hostile import RADII, vectors

HOSTILE = hostile()


def reference(inputs: list[Tensor], tau: float, steps: int = 20_000) -> Tensor:
    """The textbook iteration in float64, run until it stands still."""
    rows = torch.stack(inputs).double()
    v = rows.median(dim=0).values
    for _ in range(steps):
        differences = rows - v
        norms = differences.norm(dim=1, keepdim=True).clamp(min=1e-300)
        move = (differences * (tau / norms).clamp(max=1.0)).mean(dim=0)
        v = v + move
        if float(move.norm()) < 1e-13 * tau:
            break
    return v


def normal(count: int, dimension: int, seed: int) -> list[Tensor]:
    return list(torch.randn(count, dimension, generator=torch.Generator().manual_seed(seed)))


@pytest.mark.shows("AGG-2", "AGG-3", "TOL-2")
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_inputs_leave_no_residual(name: str) -> None:
    inputs, tau = HOSTILE[name]
    v = centered_clip(inputs, tau)
    assert v.dtype == torch.float32
    assert bool(v.isfinite().all())
    assert not aggregate_is_off(inputs, v, tau, Level.VOTE)
    assert math.isinf(tau) or residual_per_nu(inputs, v, tau) <= 1


@pytest.mark.shows("AGG-2", "TOL-2")
@given(vectors(), RADII)
def test_no_finite_input_leaves_a_residual(inputs: list[Tensor], tau: float) -> None:
    v = centered_clip(inputs, tau)
    assert residual_per_nu(inputs, v, tau) <= 1
    assert not aggregate_is_off(inputs, v, tau, Level.VOTE)


@pytest.mark.shows("AGG-2")
@given(vectors(), RADII)
def test_the_result_lies_among_its_inputs(inputs: list[Tensor], tau: float) -> None:
    v = centered_clip(inputs, tau)
    rows = torch.stack(inputs)
    slack = 1e-6 * rows.abs().amax(dim=0).double()
    assert bool((rows.amin(dim=0).double() - slack <= v.double()).all())
    assert bool((v.double() <= rows.amax(dim=0).double() + slack).all())


@pytest.mark.shows("AGG-2")
@pytest.mark.parametrize("tau", [0.3, 3.0, 30.0])
@pytest.mark.parametrize("peers", [1, 3, 5, 16, 32])
def test_it_is_the_textbook_fixed_point(peers: int, tau: float) -> None:
    inputs = normal(peers, 40, seed=peers)
    inputs[0] = 100 * inputs[0]
    expected = reference(inputs, tau)
    assert float((centered_clip(inputs, tau).double() - expected).norm()) < 1e-6 * float(expected.norm() + tau)


@pytest.mark.refuses("AGG-2", "TOL-2")
def test_the_textbook_iteration_of_few_steps_is_no_fixed_point() -> None:
    inputs = normal(16, 40, seed=1)
    v, _ = textbook(inputs, 0.1, steps=20, enough=0.0)
    assert aggregate_is_off(inputs, v, 0.1, Level.ACCUSE)


@pytest.mark.shows("AGG-2")
@given(st.integers(2, 31), st.floats(-3, 3), st.integers(0, 10**6), st.data())
def test_a_minority_moves_the_result_less_than_tau(
    peers: int, exponent: float, seed: int, data: st.DataObject
) -> None:
    tau = 10.0**exponent
    bad = data.draw(st.integers(0, (peers - 1) // 2))
    honest, *others = normal(1 + bad, 20, seed)
    scales = data.draw(st.lists(st.integers(-3, 37), min_size=bad, max_size=bad))
    inputs = [honest] * (peers - bad) + [10.0**k * x for k, x in zip(scales, others, strict=True)]
    v = centered_clip(inputs, tau)
    reach = tau * bad / (peers - bad)
    assert distances([honest], v)[0] <= reach * (1 + 1e-4) + 1e-6 * float(honest.norm())


@pytest.mark.shows("AGG-4")
def test_without_clipping_it_is_the_mean() -> None:
    inputs = [*normal(7, 1000, seed=3), torch.full((1000,), 1e20)]
    mean = torch.stack(inputs).double().mean(dim=0).float()
    assert torch.equal(centered_clip(inputs, math.inf), mean)
    assert torch.allclose(centered_clip(inputs, 1e300), mean)
    assert not aggregate_is_off(inputs, inputs[0], math.inf, Level.VOTE)


@pytest.mark.shows("AGG-2", "AGG-3")
def test_long_vectors_are_worked_off_in_blocks() -> None:
    inputs = normal(5, 100_003, seed=4)
    v = centered_clip(inputs, 50.0)
    assert residual_per_nu(inputs, v, 50.0) <= 1
    assert float((v.double() - reference(inputs, 50.0)).norm()) < 1e-4


@pytest.mark.shows("AGG-3")
@given(vectors(max_peers=5), st.sampled_from([1e-3, 1.0, 1e3, 1e30]))
def test_the_residual_is_that_of_its_definition(inputs: list[Tensor], tau: float) -> None:
    v, rows = inputs[-1], torch.stack(inputs).double()
    differences = rows - v.double()
    norms = differences.norm(dim=1, keepdim=True)
    clipped = torch.where(norms > tau, differences * (tau / norms), differences)
    expected = float(clipped.sum(dim=0).norm())
    assert residual_norm(inputs, v, tau) == pytest.approx(expected, rel=1e-9, abs=1e-12 * len(inputs) * tau)
    assert distances(inputs, v) == pytest.approx(norms.flatten().tolist(), rel=1e-12)


@pytest.mark.refuses("AGG-3")
def test_an_aggregate_that_is_not_finite_has_no_residual() -> None:
    inputs = normal(3, 4, seed=5)
    for value in (math.nan, math.inf):
        v = torch.tensor([0.0, value, 0.0, 0.0])
        assert math.isnan(residual_norm(inputs, v, 1.0))
        assert aggregate_is_off(inputs, v, 1.0, Level.ACCUSE)


@pytest.mark.refuses("AGG-2")
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("tau", [1.0, math.inf])
def test_a_vector_that_is_not_finite_is_refused(value: float, tau: float) -> None:
    inputs = normal(4, 50_000, seed=6)
    inputs[2][40_000] = value
    with pytest.raises(ValueError, match="NaN or an infinity"):
        centered_clip(inputs, tau)


@pytest.mark.refuses("AGG-2")
@pytest.mark.parametrize(
    ("inputs", "tau", "message"),
    [
        ([], 1.0, "at least one"),
        ([torch.zeros(3)], 0.0, "positive"),
        ([torch.zeros(3)], math.nan, "positive"),
        ([torch.zeros(3), torch.zeros(4)], 1.0, "differ"),
        ([torch.zeros(3, 1)], 1.0, "1-D float32"),
        ([torch.zeros(3, dtype=torch.float64)], 1.0, "1-D float32"),
    ],
)
def test_what_is_no_list_of_vectors_is_refused(inputs: list[Tensor], tau: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        centered_clip(inputs, tau)


@pytest.mark.shows("AGG-2")
def test_inputs_stay_as_they_are() -> None:
    inputs = normal(4, 10, seed=7)
    copies = [x.clone() for x in inputs]
    centered_clip(inputs, 0.1)
    assert all(torch.equal(x, copy) for x, copy in zip(inputs, copies, strict=True))
