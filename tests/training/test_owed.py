"""What a peer owes in place of the gradient that its task computed."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from toy_task import DEVICES, same_bits

from btard.training.owed import owed

GRADIENTS = st.lists(st.floats(-(2**63), 2**63, width=32), min_size=1, max_size=9).map(torch.tensor)
CLIPS = st.floats(1e-3, 1e6)
BITS = ["0x1.2d422e0000000p-22", "0x1.2d422e0000000p-21", "0x1.41c6340000000p-6"]


@pytest.mark.shows("TRN-19")
@given(GRADIENTS, CLIPS)
def test_a_gradient_keeps_its_direction_and_is_no_longer_than_the_limit(gradient, clip):
    result, length = owed(gradient, clip), gradient.double().norm().item()
    assert result.dtype == torch.float32
    if length <= clip * (1 - 1e-9):
        assert same_bits(result, gradient)
    else:
        assert torch.allclose(result.double(), gradient.double() * min(1, clip / length), rtol=1e-6, atol=1e-40)
        assert result.double().norm() <= clip * (1 + 1e-6)


@pytest.mark.shows("TRN-19")
@given(GRADIENTS)
def test_an_infinite_limit_leaves_every_gradient_as_it_is(gradient):
    assert owed(gradient, math.inf) is gradient


@pytest.mark.shows("VER-1")
@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("clip", [1.0, math.inf])
def test_what_is_not_finite_counts_as_zero(number, clip):
    assert owed(torch.tensor([1.0, number]), clip).tolist() == [0.0, 0.0]


@pytest.mark.shows("TRN-19")
@pytest.mark.parametrize("device", DEVICES)
def test_a_clipped_gradient_has_known_bits(device):
    result = owed(torch.arange(70_000, dtype=torch.float32, device=device) / 7, 3.0)
    assert result.is_contiguous()
    assert [number.hex() for number in result[[1, 2, 69_999]].tolist()] == BITS
