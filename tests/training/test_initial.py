"""First parameters that are the same on every platform."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from toy_task import seed

from btard.training.initial import initialise_
from btard.training.state import tensors_digest


def small_network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.GroupNorm(2, 4),
        nn.Flatten(),
        nn.Linear(16, 8),
        nn.LayerNorm(8),
        nn.Linear(8, 2),
    )


def digest_of(module: nn.Module) -> bytes:
    return tensors_digest("test", dict(module.named_parameters()))


@pytest.mark.shows("TRN-4")
@pytest.mark.parametrize(
    ("dtype", "golden"),
    [
        (torch.float32, "36f714d100e5a6cb59e08bd0b05ddc16"),
        (torch.float64, "69fd99b22daf0d5ac56388e4555eddf8"),
        (torch.bfloat16, "c08afff50a59083b84aa7adb8611f58c"),
    ],
)
def test_the_parameters_of_a_known_seed_are_the_same_on_every_platform(dtype, golden):
    network = small_network().to(dtype)
    torch.manual_seed(3)
    initialise_(network, bytes(32))
    assert digest_of(network).hex()[:32] == golden


@pytest.mark.shows("TRN-4")
@given(st.binary(min_size=32, max_size=32))
@settings(max_examples=25, deadline=None)
def test_weights_are_uniform_scales_are_one_and_biases_zero(key):
    network = small_network()
    initialise_(network, key)
    for name, parameter in network.named_parameters():
        if parameter.ndim >= 2:
            bound = math.sqrt(3 / parameter[0].numel())
            assert parameter.abs().max() <= bound
            assert parameter.count_nonzero() == parameter.numel()
        else:
            assert torch.all(parameter == float(name.endswith("weight")))


@pytest.mark.shows("TRN-4")
def test_weights_have_the_moments_of_their_distribution():
    layer = nn.Linear(300, 300)
    initialise_(layer, seed(0))
    scaled = layer.weight.double() * math.sqrt(300)
    # Ninety thousand draws: each moment lies within five standard errors.
    assert abs(scaled.mean()) < 5 / 300
    assert abs((scaled**2).mean() - 1) < 5 * math.sqrt(0.8) / 300
    assert abs((scaled[:, 1:] * scaled[:, :-1]).mean()) < 5 / 299


@pytest.mark.shows("TRN-4")
def test_each_parameter_has_a_stream_of_its_own_by_name_and_seed():
    alone, both = (
        nn.ModuleDict({"a": nn.Linear(9, 9)}),
        nn.ModuleDict({"b": nn.Linear(9, 9), "a": nn.Linear(9, 9)}),
    )
    other = nn.ModuleDict({"a": nn.Linear(9, 9)})
    initialise_(alone, seed(0))
    initialise_(both, seed(0))
    initialise_(other, seed(1))
    assert torch.equal(alone["a"].weight, both["a"].weight)
    assert not torch.equal(both["a"].weight, both["b"].weight)
    assert not torch.equal(alone["a"].weight, other["a"].weight)


@pytest.mark.shows("TRN-4")
def test_a_large_tensor_goes_on_where_a_small_one_ends():
    small, large = nn.Embedding(1000, 1), nn.Embedding((1 << 20) + 1000, 1)
    initialise_(small, seed(0))
    initialise_(large, seed(0))
    assert torch.equal(large.weight[:1000], small.weight)
    assert not torch.equal(large.weight[1 << 20 :], small.weight)


@pytest.mark.refuses("TRN-4")
def test_parameters_that_are_not_floating_point_are_refused():
    module = nn.Module()
    module.register_parameter("phase", nn.Parameter(torch.zeros(2, 2, dtype=torch.complex64)))
    with pytest.raises(TypeError, match="phase"):
        initialise_(module, seed(0))
