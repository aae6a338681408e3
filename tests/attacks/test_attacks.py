"""What the built-in attackers do to a vector; whole runs with them are in tests/node."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from btard.attacks.bad_aggregate import BadAggregate
from btard.attacks.base import Attack
from btard.attacks.hidden import enough
from btard.attacks.nan import Nan
from btard.attacks.sign_flip import SignFlip
from btard.attacks.stale import Lazy

vectors = st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=50).map(torch.tensor)


@given(vectors)
def test_the_base_class_is_honest(vector: torch.Tensor) -> None:
    assert Attack().gradient(1, vector) is vector
    assert Attack().aggregate(1, vector) is vector


@given(vectors)
def test_sign_flip_turns_and_enlarges_the_gradient_alone(vector: torch.Tensor) -> None:
    before = vector.clone()
    assert torch.equal(SignFlip().gradient(1, vector), vector * -1000)
    assert torch.equal(SignFlip(factor=-2.0).gradient(1, vector), vector * -2)
    assert SignFlip().aggregate(1, vector) is vector
    assert torch.equal(vector, before)


@given(st.integers(1, 10_000), st.sampled_from([1e-5, 3e-4, 1.0]))
def test_bad_aggregate_shifts_the_aggregate_alone_by_a_dense_vector(length: int, shift: float) -> None:
    vector = torch.zeros(length)
    shifted = BadAggregate(shift=shift).aggregate(1, vector)
    assert shifted.norm().item() == pytest.approx(shift, rel=1e-4)
    assert len(shifted.unique()) == 1
    assert BadAggregate().gradient(1, vector) is vector
    assert not vector.any()


@given(vectors)
def test_nan_spoils_two_numbers(vector: torch.Tensor) -> None:
    spoilt = Nan().gradient(1, vector)
    assert not spoilt.isfinite().all()
    assert torch.equal(spoilt[1:-1], vector[1:-1])
    assert vector.isfinite().all()


def test_lazy_sends_what_it_had_some_steps_ago() -> None:
    attack = Lazy(steps=3)
    sent = [attack.gradient(step, torch.full((1,), float(step))).item() for step in (1, 2, 3, 4, 5, 7, 8)]
    assert sent == [1, 1, 1, 1, 2, 4, 5]


def test_a_little_is_what_the_paper_says() -> None:
    """Baruch et al.: with 50 workers, 24 of them corrupted, two more supporters are needed, and z = 1.43."""
    assert enough(50, 24) == pytest.approx(1.43, abs=0.005)
    assert enough(7, 0) == 0.0
    assert enough(3, 3) > 3
