"""Consensus optimizers: the same bits on any hardware, and the steps that the names promise."""

import json
import math
import os
import subprocess
import sys

import numpy as np
import portable_steps
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from portable_steps import MAKERS, digests
from toy_task import DEVICES, Toy, same_bits, seed, train

from btard.training.digits import DigitsTask
from btard.training.optimizers import LAMB, SGD, AdamW, ConsensusOptimizer, ConsensusSchedule
from btard.training.optimizers.arithmetic import power, root
from btard.training.state import State, StateError

SHAPES = [(37, 5), (40,), (1,), (3, 2, 2)]


def tensors(number: int, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    """Return normal tensors of all SHAPES that depend on a number alone."""
    numbers = np.random.default_rng(number)
    return [torch.tensor(numbers.standard_normal(shape), dtype=dtype) for shape in SHAPES]


def parameters(dtype: torch.dtype = torch.float32) -> list[torch.nn.Parameter]:
    return [torch.nn.Parameter(t.to(torch.float32).to(dtype)) for t in tensors(0)]


def advance(optimizer: torch.optim.Optimizer, number: int, scale: float = 1.0) -> None:
    trained = [p for group in optimizer.param_groups for p in group["params"]]
    for parameter, gradient in zip(trained, tensors(number), strict=True):
        parameter.grad = (gradient * scale).to(parameter.dtype)
    optimizer.step()


def distance(found: list[torch.nn.Parameter], expected: list[torch.Tensor]) -> float:
    """Return the distance relative to the length, over all tensors together."""
    a, b = (torch.cat([t.detach().double().reshape(-1) for t in each]) for each in (found, expected))
    return float((a - b).norm() / b.norm())


# The same steps as elsewhere.


OPTIONS = {
    "lr": st.floats(1e-4, 0.1),
    "weight_decay": st.sampled_from([0.0, 5e-4, 0.1]),
}
UNIT = st.floats(0, 0.99)
NUMBERS = st.integers(1, 10**6)


@pytest.mark.shows("TRN-16")
@given(st.fixed_dictionaries({**OPTIONS, "momentum": UNIT}), st.booleans(), NUMBERS)
@settings(max_examples=15, deadline=None)
def test_sgd_makes_the_steps_of_torch(options, nesterov, number):
    options["nesterov"] = nesterov and options["momentum"] > 0
    mine, theirs = parameters(), parameters(torch.float64)
    ours, reference = SGD(mine, **options), torch.optim.SGD(theirs, **options)
    for step in range(30):
        advance(ours, number + step)
        advance(reference, number + step)
    assert distance(mine, theirs) < 1e-6


@pytest.mark.shows("TRN-16")
@given(st.fixed_dictionaries({**OPTIONS, "eps": st.sampled_from([1e-8, 1e-3])}), st.tuples(UNIT, UNIT), NUMBERS)
@settings(max_examples=15, deadline=None)
def test_adamw_makes_the_steps_of_torch(options, betas, number):
    mine, theirs = parameters(), parameters(torch.float64)
    ours, reference = AdamW(mine, **options, betas=betas), torch.optim.AdamW(theirs, **options, betas=betas)
    for step in range(30):
        advance(ours, number + step)
        advance(reference, number + step)
    assert distance(mine, theirs) < 3e-6


def plain_lamb(steps, lr, betas, eps, weight_decay, limit):
    """LAMB as its paper's formula, in float64."""
    x = [p.detach().numpy().copy() for p in parameters(torch.float64)]
    m, v = [np.zeros_like(t) for t in x], [np.zeros_like(t) for t in x]
    for t, number in enumerate(steps, 1):
        gradients = [g.double().numpy() for g in tensors(number)]
        norm = math.sqrt(sum((g * g).sum() for g in gradients))
        for i, g in enumerate(gradients):
            g = g * min(1, limit / norm)
            m[i] = betas[0] * m[i] + (1 - betas[0]) * g
            v[i] = betas[1] * v[i] + (1 - betas[1]) * g**2
            r = m[i] / (1 - betas[0] ** t) / (np.sqrt(v[i] / (1 - betas[1] ** t)) + eps) + weight_decay * x[i]
            x[i] = x[i] - lr * np.linalg.norm(x[i]) / np.linalg.norm(r) * r
    return [torch.from_numpy(t) for t in x]


@pytest.mark.shows("TRN-16")
@given(st.fixed_dictionaries(OPTIONS), st.tuples(UNIT, UNIT), st.floats(0.1, 100), NUMBERS)
@settings(max_examples=15, deadline=None)
def test_lamb_makes_the_steps_of_its_formula(options, betas, limit, number):
    mine = parameters()
    optimizer = LAMB(mine, **options, betas=betas, max_gradient_norm=limit)
    for step in range(20):
        advance(optimizer, number + step)
    expected = plain_lamb(range(number, number + 20), betas=betas, eps=1e-6, limit=limit, **options)
    assert distance(mine, expected) < 3e-6


@pytest.mark.shows("TRN-16")
def test_the_limit_on_the_gradient_is_on_all_tensors_together():
    trained = parameters()
    before = torch.cat([p.detach().reshape(-1) for p in trained])
    halves = [{"params": trained[:2]}, {"params": trained[2:], "max_gradient_norm": 2.0}]
    optimizer = SGD(halves, 1.0, max_gradient_norm=0.25)
    advance(optimizer, 1)
    gradient = torch.cat([t.reshape(-1) for t in tensors(1)])
    moved = before - torch.cat([p.detach().reshape(-1) for p in trained])
    cut = trained[0].numel() + trained[1].numel()
    expected = (
        gradient / gradient.norm() * torch.cat([torch.full((cut,), 0.25), torch.full((len(moved) - cut,), 2.0)])
    )
    assert torch.allclose(moved, expected, atol=1e-6)


@pytest.mark.shows("TRN-16")
@pytest.mark.parametrize("name", MAKERS)
def test_parameters_without_a_gradient_stay(name):
    trained = parameters()
    optimizer = MAKERS[name](trained)
    trained[0].grad = torch.ones_like(trained[0])
    optimizer.step()
    assert not torch.equal(trained[0], parameters()[0])
    assert torch.equal(trained[1], parameters()[1])


@pytest.mark.shows("TRN-16")
@pytest.mark.parametrize("name", MAKERS)
@given(st.floats(width=32, allow_nan=False, allow_infinity=False), st.floats(0, 1, width=32))
@example(1e-45, 1.0)
@example(3.4e38, 1.0)
@settings(max_examples=25, deadline=None)
def test_no_finite_gradient_stops_an_optimizer(name, value, parameter):
    trained = [torch.nn.Parameter(torch.full((3,), parameter)), torch.nn.Parameter(torch.zeros(2, 0))]
    optimizer = MAKERS[name](trained)
    for _ in range(2):
        for p in trained:
            p.grad = torch.full_like(p, value)
        optimizer.step()
    assert abs(value) > 1e18 or trained[0].isfinite().all()


# Bits.


KNOWN = {
    "sgd": "1636bff87f7f74c6daa4d1ba67896963",
    "nesterov": "ff5aff35c42177f5d39be06aa54bdee4",
    "adamw": "00b135cccb71a814d01ec51b2717e336",
    "lamb": "f333ed5e6668c101f068eb46c1a18727",
}


@pytest.mark.shows("TRN-14", "TRN-15")
@pytest.mark.parametrize("device", DEVICES)
def test_some_steps_come_to_the_same_bits_on_every_platform(device):
    assert digests(device) == KNOWN


@pytest.mark.shows("TRN-14")
def test_instruction_set_and_number_of_threads_change_no_bit():
    known = ["default", "avx2", "avx512"]
    best = torch.backends.cpu.get_cpu_capability().lower()
    usable = known[: known.index(best) + 1] if best in known else ["default"]
    children = [
        subprocess.Popen(
            [sys.executable, portable_steps.__file__],
            env={**os.environ, "ATEN_CPU_CAPABILITY": name},
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in usable
    ]
    outputs = [child.communicate(timeout=120)[0] for child in children]
    for name, output in zip(usable, outputs, strict=True):
        assert json.loads(output) == [name.upper(), {"1": KNOWN, "2": KNOWN}]


@pytest.mark.shows("TRN-15")
@pytest.mark.parametrize("name", MAKERS)
def test_how_tensors_lie_in_memory_changes_no_bit(name):
    gradient = torch.arange(72.0).reshape(2, 3, 4, 3) / 7 - 3
    results = []
    for order in (torch.contiguous_format, torch.channels_last):
        p = torch.nn.Parameter((gradient * 0.3).to(memory_format=order))
        optimizer = MAKERS[name]([p])
        for _ in range(3):
            p.grad = gradient.clone(memory_format=order)
            optimizer.step()
        results.append(State.of({"p": p}, {"optimizer": optimizer.state_dict()}).to_bytes())
    assert results[0] == results[1]


@pytest.mark.shows("TRN-15")
@pytest.mark.parametrize("device", DEVICES)
def test_roots_are_correctly_rounded_for_every_significand(device):
    bits = torch.arange(127 << 23, 129 << 23, dtype=torch.int32)
    for numbers in (bits.view(torch.float32), bits[: 1 << 16].sub(127 << 23).view(torch.float32)):
        expected = torch.from_numpy(np.sqrt(numbers.numpy().astype(np.float64)).astype(np.float32))
        assert same_bits(root(numbers.to(device)), expected)


@pytest.mark.shows("TRN-15")
@given(st.floats(0, 1), st.integers(0, 10**7))
def test_powers_are_close_to_the_exact_ones(base, exponent):
    assert power(base, exponent) == pytest.approx(base**exponent, rel=1e-8, abs=1e-300)
    assert power(0.5, exponent % 1000) == math.ldexp(1, -(exponent % 1000))


# In a task.


@pytest.mark.shows("TRN-8", "TRN-16")
@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("device", DEVICES)
def test_a_newcomer_goes_on_as_if_it_had_been_there(name, device):
    task, fresh = Toy(MAKERS[name], device=device), Toy(MAKERS[name], number=1)
    train(task, 3)
    fresh.load_state(State.from_bytes(task.state().to_bytes()))
    gradient = task.gradient(seed(9))
    for each in (task, fresh):
        each.update(gradient)
    assert task.model_digest() == fresh.model_digest()


@pytest.mark.refuses("TRN-16")
def test_the_state_of_another_consensus_optimizer_is_refused():
    task = Toy(MAKERS["lamb"])
    train(task, 1)
    for other in ("sgd", "nesterov"):
        with pytest.raises(StateError):
            Toy(MAKERS[other]).load_state(State.of({}, {"optimizer": task.optimizer.state_dict()}))


@pytest.mark.shows("TRN-14")
@pytest.mark.parametrize("name", ["adamw", "lamb"])
def test_digits_are_learnt_with_each_consensus_optimizer(name):
    task = DigitsTask(seed(0), batch_size=64, optimizer=name)
    assert isinstance(task.optimizer, ConsensusOptimizer)
    train(task, 40)
    assert task.scores()["accuracy"] > 0.8


# What is refused.


@pytest.mark.refuses("TRN-14")
@pytest.mark.parametrize("make", MAKERS.values())
def test_other_parameters_than_float32_are_refused(make):
    with pytest.raises(TypeError, match="float64"):
        make(parameters(torch.float64))


@pytest.mark.refuses("TRN-14")
@pytest.mark.parametrize("make", MAKERS.values())
def test_a_closure_is_refused(make):
    with pytest.raises(ValueError, match="closure"):
        make(parameters()).step(lambda: 1.0)


@pytest.mark.refuses("TRN-16")
@pytest.mark.parametrize(
    ("make", "options"),
    [
        (SGD, {"lr": -0.1}),
        (SGD, {"lr": math.nan}),
        (SGD, {"lr": torch.tensor(0.1)}),
        (SGD, {"lr": 1e30}),
        (SGD, {"lr": 0.1, "momentum": 1.0}),
        (SGD, {"lr": 0.1, "nesterov": 1}),
        (AdamW, {"betas": (0.9, 1.0)}),
        (AdamW, {"eps": -1e-8}),
        (AdamW, {"weight_decay": "0.1"}),
        (LAMB, {"weight_decay": math.inf}),
        (LAMB, {"max_gradient_norm": 0.0}),
        (LAMB, {"max_gradient_norm": math.inf}),
    ],
)
def test_options_out_of_range_are_refused(make, options):
    (name, _) = list(options.items())[-1]
    with pytest.raises(ValueError, match="beta2" if name == "betas" else name):
        make(parameters(), **options)


@pytest.mark.refuses("TRN-16")
def test_digits_refuse_an_unknown_optimizer():
    with pytest.raises(ValueError, match="sgd, adamw, lamb"):
        DigitsTask(seed(0), optimizer="adam")


@pytest.mark.shows("TRN-18")
def test_a_task_says_whether_its_state_keeps_equal_bits_on_any_hardware():
    task = Toy(MAKERS["adamw"])
    assert task.portable
    task.scheduler = ConsensusSchedule(task.optimizer, "linear", total=9)
    assert task.portable
    task.scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(task.optimizer, 9)
    assert not task.portable
    assert not Toy(torch.optim.AdamW).portable
    assert DigitsTask(seed(0)).portable
