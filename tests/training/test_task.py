"""A peer's task: gradients that anybody can compute again, updates, and the scores of the model."""

import math
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from toy_task import DEVICES, Toy, same_bits, seed, train

from btard.training.sampling import batch_indices
from btard.training.task import Task

numbers = st.integers(0, 2**64 - 1)


def buffers(task: Task) -> dict[str, torch.Tensor]:
    return {name: buffer.clone() for name, buffer in task.model.named_buffers()}


# Gradients.


@pytest.mark.shows("TRN-1")
@given(numbers, numbers, st.lists(st.sampled_from(["gradient", "scores", "draw"]), max_size=4))
@settings(max_examples=40, deadline=None)
def test_a_gradient_is_a_function_of_parameters_and_seed(first, other, between):
    task = Toy(stateful=True)
    expected = task.gradient(seed(first))
    for action in between:
        if action == "gradient":
            task.gradient(seed(other))
        elif action == "scores":
            task.scores()
        else:
            torch.rand(3)
    assert same_bits(task.gradient(seed(first)), expected)
    assert same_bits(Toy(stateful=True).gradient(seed(first)), expected)


@pytest.mark.shows("TRN-1")
@pytest.mark.parametrize("device", DEVICES)
def test_a_gradient_repeats_on_every_device_and_lies_there(device):
    task = Toy(device=device, stateful=True)
    gradient = task.gradient(seed(1))
    assert same_bits(gradient, task.gradient(seed(1)))
    assert gradient.device.type == device
    assert gradient.shape == (task.dimension,)
    assert gradient.dtype == torch.float32


@pytest.mark.shows("TRN-1")
def test_a_gradient_leaves_everything_as_it_was():
    task = Toy(stateful=True)
    train(task, 2)
    before, kept = task.model_digest(), buffers(task)
    torch.manual_seed(1)
    random.seed(1)
    generators = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tobytes()
    task.gradient(seed(9))
    assert task.model_digest() == before
    assert all(same_bits(kept[name], buffer) for name, buffer in task.model.named_buffers())
    assert buffers(task).keys() == kept.keys()
    assert torch.equal(torch.get_rng_state(), generators[0])
    assert (random.getstate(), np.random.get_state()[1].tobytes()) == generators[1:]


@pytest.mark.shows("TRN-1", "TRN-2")
def test_a_gradient_is_that_of_the_loss_on_the_batch_of_its_seed():
    task = Toy()
    loss = task.loss(batch_indices(seed(3), 64, 8))
    parts = torch.autograd.grad(loss, list(task.model.parameters()))
    assert torch.equal(task.gradient(seed(3)), torch.cat([part.flatten() for part in parts]))
    assert task.last_loss == loss.item()


@pytest.mark.shows("TRN-3")
def test_dropout_and_any_other_draw_follow_from_the_seed():
    class Drawing(Toy):
        def loss(self, indices: torch.Tensor) -> torch.Tensor:
            factor = torch.rand(()) * random.random() * float(np.random.random())
            return super().loss(indices) * factor

    first, again = Drawing(stateful=True), Drawing(stateful=True)
    torch.manual_seed(5)
    random.seed(5)
    assert same_bits(first.gradient(seed(1)), again.gradient(seed(1)))
    assert first.last_loss == again.last_loss


@pytest.mark.shows("TRN-1")
def test_parameters_that_the_loss_does_not_use_have_gradient_zero_and_frozen_ones_none():
    task = Toy()
    task.model.register_parameter("idle", nn.Parameter(torch.ones(3)))
    task.model[0].bias.requires_grad_(False)
    gradient = task.gradient(seed(0))
    assert task.dimension == 3 + 30 + 10 == len(gradient)
    assert torch.equal(gradient[:3], torch.zeros(3))
    assert gradient[3:].count_nonzero() > 30


@pytest.mark.shows("TRN-1")
def test_sparse_gradients_are_laid_out_densely():
    class Bag(Toy):
        def __init__(self) -> None:
            super().__init__()
            self.model = nn.Embedding(64, 2, sparse=True)
            self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)

        def loss(self, indices: torch.Tensor) -> torch.Tensor:
            return nn.functional.cross_entropy(self.model(indices), self.y[indices])

    gradient = Bag().gradient(seed(0)).view(64, 2)
    assert set(gradient.abs().sum(1).nonzero().flatten().tolist()) == set(
        batch_indices(seed(0), 64, 8).tolist()
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_models_of_any_dtype_exchange_float32_and_lose_no_bit_of_their_parameters(dtype):
    task = Toy(dtype=dtype)
    before = task.model_digest()
    vector, gradient = task.parameters_vector(), task.gradient(seed(0))
    assert gradient.dtype == torch.float32
    task.load_parameters_vector(torch.zeros_like(vector))
    assert task.model_digest() != before
    task.load_parameters_vector(vector)
    assert task.model_digest() == before
    task.update(gradient)
    assert task.model_digest() != before


def test_what_is_not_finite_is_returned_as_it_is():
    task = Toy()
    task.load_parameters_vector(torch.full((task.dimension,), math.nan))
    assert not task.gradient(seed(0)).isfinite().any()
    assert math.isnan(task.last_loss)


@pytest.mark.refuses("TRN-1", "TRN-2")
def test_what_is_no_seed_or_no_loss_is_refused():
    class Unreduced(Toy):
        def loss(self, indices: torch.Tensor) -> torch.Tensor:
            return nn.functional.cross_entropy(self.model(self.x[indices]), self.y[indices], reduction="none")

    with pytest.raises(ValueError, match="32 bytes"):
        Toy().gradient(b"short")
    with pytest.raises(TypeError, match="without dimensions"):
        Unreduced().gradient(seed(0))


@pytest.mark.shows("TRN-1")
def test_a_gradient_does_not_depend_on_what_the_users_code_left_behind():
    task = Toy(stateful=True)
    expected = task.gradient(seed(0))
    with task.for_inference(), torch.enable_grad():
        task.loss(torch.arange(8)).backward()
    task.model.eval()
    assert same_bits(task.gradient(seed(0)), expected)


# Gradients at old parameters.


@pytest.mark.shows("TRN-5")
@given(st.integers(0, 3), st.integers(0, 3), numbers)
@settings(max_examples=25, deadline=None)
def test_an_old_gradient_can_be_computed_again_without_a_trace(before, after, number):
    task = Toy(stateful=True)
    train(task, before)
    old, expected = task.parameters_vector(), task.gradient(seed(number))
    train(task, after, before)
    current, loss, kept = task.model_digest(), task.last_loss, buffers(task)
    assert same_bits(task.gradient_at(old, seed(number)), expected)
    assert task.model_digest() == current
    assert task.last_loss == loss
    assert all(same_bits(kept[name], buffer) for name, buffer in task.model.named_buffers())


@pytest.mark.shows("TRN-5")
def test_present_parameters_come_back_even_if_the_loss_raises_or_they_are_odd():
    class Failing(Toy):
        fail = False

        def loss(self, indices: torch.Tensor) -> torch.Tensor:
            if self.fail:
                raise RuntimeError("no memory")
            return super().loss(indices)

    task = Failing(stateful=True, dtype=torch.bfloat16)
    vector = task.parameters_vector()
    vector[0], vector[1], vector[2] = math.nan, -0.0, math.inf
    task.load_parameters_vector(vector)
    before = task.model_digest()
    task.gradient_at(torch.zeros(task.dimension), seed(0))
    assert task.model_digest() == before
    task.fail = True
    with pytest.raises(RuntimeError, match="no memory"):
        task.gradient_at(torch.zeros(task.dimension), seed(0))
    assert task.model_digest() == before


@pytest.mark.refuses("TRN-5")
def test_vectors_of_another_shape_are_refused_and_change_nothing():
    task = Toy()
    before = task.model_digest()
    for wrong in (torch.zeros(task.dimension + 1), torch.zeros(1, task.dimension), torch.zeros(())):
        for use in (task.update, task.load_parameters_vector, lambda v: task.gradient_at(v, seed(0))):
            with pytest.raises(ValueError, match="has shape"):
                use(wrong)
    assert task.model_digest() == before


# Updates.


def test_an_update_is_a_step_of_the_optimizer_and_then_of_the_schedule():
    task, plain = Toy(), Toy()
    task.scheduler = torch.optim.lr_scheduler.StepLR(task.optimizer, step_size=1, gamma=0.5)
    gradient = task.gradient(seed(0))
    kept = gradient.clone()
    for _ in range(2):
        task.update(gradient)
    plain.update(gradient)
    for group in plain.optimizer.param_groups:
        group["lr"] = 0.05
    plain.update(gradient)
    assert torch.equal(task.parameters_vector(), plain.parameters_vector())
    assert torch.equal(gradient, kept)


def test_an_optimizer_that_writes_into_its_gradients_leaves_the_callers_vector_alone():
    class Clipping(torch.optim.SGD):
        def step(self, closure=None):
            nn.utils.clip_grad_norm_(self.param_groups[0]["params"], 1e-3)
            super().step()

    task = Toy(lambda parameters: Clipping(parameters, lr=0.1))
    gradient = task.gradient(seed(0))
    kept = gradient.clone()
    task.update(gradient)
    assert torch.equal(gradient, kept)


def test_training_lowers_the_loss():
    task = Toy(batch_size=32)
    train(task, 1)
    first = task.last_loss
    train(task, 30)
    assert task.last_loss < first / 2


# Scores.


@pytest.mark.shows("TRN-9")
def test_scores_follow_from_the_parameters_whatever_happened_before():
    busy, fresh = Toy(stateful=True), Toy(stateful=True)
    train(busy, 5)
    kept = buffers(busy)
    busy.scores()
    fresh.load_parameters_vector(busy.parameters_vector())
    assert busy.scores() == fresh.scores()
    assert all(same_bits(kept[name], buffer) for name, buffer in busy.model.named_buffers())


@pytest.mark.shows("TRN-9")
def test_inference_uses_statistics_of_the_data_rather_than_those_at_the_start():
    task = Toy(stateful=True, batch_size=64)
    norm = task.model[1]
    norm.running_mean.fill_(3.0)
    norm.num_batches_tracked.fill_(5)
    with task.for_inference():
        expected = task.model[0](task.x)
        assert not task.model.training
        torch.testing.assert_close(norm.running_mean, expected.mean(0))
        torch.testing.assert_close(norm.running_var, expected.var(0))
    assert torch.equal(norm.running_mean, torch.full((5,), 3.0))
    assert norm.momentum == 0.1
    assert task.model.training


# What a constructor can get wrong.


def test_a_complete_task_passes_its_check():
    Toy().check()
    partly_frozen = Toy()
    partly_frozen.model[0].weight.requires_grad_(False)
    partly_frozen.check()


def without(attribute):
    def spoil(task: Task) -> None:
        delattr(task, attribute)

    return spoil


def with_lbfgs(task: Task) -> None:
    task.optimizer = torch.optim.LBFGS(task.model.parameters())


def with_foreign_parameters(task: Task) -> None:
    task.optimizer = torch.optim.SGD(Toy().model.parameters(), lr=0.1)


def with_too_large_a_batch(task: Task) -> None:
    task.batch_size = 65


def frozen(task: Task) -> None:
    task.model.requires_grad_(False)


def complex_valued(task: Task) -> None:
    task.model.register_parameter("phase", nn.Parameter(torch.zeros(2, dtype=torch.complex64)))


def without_data(task: Task) -> None:
    task.data = ()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (without("model"), r"must set self.model \(type Module\)"),
        (without("optimizer"), r"must set self.optimizer \(type Optimizer\)"),
        (without("examples"), r"must set self.examples \(type int\)"),
        (with_lbfgs, "LBFGS computes the loss again within a step"),
        (with_foreign_parameters, "not over parameters of the model"),
        (with_too_large_a_batch, "batch_size is 65; there are 64 examples"),
        (frozen, "no parameter of the model requires a gradient"),
        (complex_valued, "phase is not a floating-point tensor"),
        (without_data, "set self.data or define data_digest"),
    ],
)
@pytest.mark.refuses("TRN-7")
def test_the_check_names_what_is_missing_or_wrong(spoil, message):
    task = Toy()
    spoil(task)
    with pytest.raises((TypeError, ValueError), match=message) as caught:
        task.check()
    assert "\n" not in str(caught.value)


# Data.


@pytest.mark.shows("TRN-7")
def test_the_data_digest_depends_on_every_tensor_its_shape_dtype_and_place():
    task = Toy()
    x = torch.arange(6, dtype=torch.float32)
    variants = [(x,), (x.view(2, 3),), (x.double(),), (x, x), (x.flip(0),), (x[:3], x[3:])]
    digests = set()
    for data in variants:
        task.data = data
        digests.add(task.data_digest())
    assert len(digests) == len(variants)
    task.data = (x.flip(0).flip(0),)
    assert task.data_digest() in digests
