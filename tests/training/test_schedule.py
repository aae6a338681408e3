"""Learning rates that follow from the step alone."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from toy_task import Toy, train

from btard.training.optimizers import SGD, ConsensusSchedule
from btard.training.optimizers.arithmetic import half_wave
from btard.training.state import State, StateError


def rates(steps: int, *arguments, **options) -> list[float]:
    """Return the learning rates of the first steps, for a base rate of 1."""
    optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], 1.0)
    schedule = ConsensusSchedule(optimizer, *arguments, **options)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


@pytest.mark.shows("TRN-17")
def test_rates_warm_up_and_fall():
    assert rates(3) == [1, 1, 1]
    assert rates(4, warmup=2) == [0.5, 1, 1, 1]
    assert rates(8, "linear", warmup=2, total=6) == [0.5, 1, 1, 0.75, 0.5, 0.25, 0, 0]
    assert rates(7, "linear", total=4, final=0.5) == [1, 0.875, 0.75, 0.625, 0.5, 0.5, 0.5]
    assert rates(6, "cosine", total=4) == pytest.approx([1, 0.8535533905932737, 0.5, 0.1464466094067263, 0, 0])


@pytest.mark.shows("TRN-17")
def test_the_cosine_is_that_of_torch():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 1.0)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 100)
    for rate in rates(100, "cosine", total=100):
        assert rate == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-12)
        optimizer.step()
        theirs.step()


@pytest.mark.shows("TRN-17")
@given(st.floats(0, 1))
def test_the_wave_is_accurate_and_symmetric(x):
    assert half_wave(x) == pytest.approx((1 + math.cos(math.pi * x)) / 2, abs=1e-15)
    assert 0 <= half_wave(x) <= 1


WAVE = [
    "0x1.0000000000000p+0",
    "0x1.e6a5e54e5ae39p-1",
    "0x1.9f9d07145f6e9p-1",
    "0x1.38f721c6048b0p-1",
    "0x1.8e11bc73f6ea0p-2",
    "0x1.818be3ae8245cp-3",
    "0x1.95a1ab1a51c80p-5",
    "0x0.0p+0",
]


@pytest.mark.shows("TRN-17")
def test_the_wave_has_known_bits():
    assert [half_wave(k / 7).hex() for k in range(8)] == WAVE


def scheduled(number: int = 0, **options) -> Toy:
    task = Toy(lambda p: SGD(p, 0.1, momentum=0.9), number=number)
    task.scheduler = ConsensusSchedule(
        task.optimizer, **{"decay": "cosine", "warmup": 2, "total": 9, **options}
    )
    return task


@pytest.mark.shows("TRN-8", "TRN-17")
def test_a_newcomer_goes_on_in_the_schedule():
    task, fresh = scheduled(), scheduled(1)
    train(task, 4)
    fresh.load_state(State.from_bytes(task.state().to_bytes()))
    for each in (task, fresh):
        train(each, 3, first=4)
    assert fresh.model_digest() == task.model_digest()
    assert fresh.scheduler.get_last_lr() == task.scheduler.get_last_lr()


@pytest.mark.refuses("TRN-17")
@pytest.mark.parametrize("options", [{"total": 10}, {"warmup": 1}, {"decay": "linear"}, {"final": 0.1}])
def test_the_state_of_another_schedule_is_refused(options):
    with pytest.raises(StateError, match="schedule"):
        scheduled().load_state(scheduled(**options).state())


@pytest.mark.refuses("TRN-17")
@pytest.mark.parametrize("step", [-1, "1", None, 1.0, True])
def test_a_position_that_is_none_is_refused(step):
    state = scheduled().scheduler.state_dict() | {"step": step}
    with pytest.raises(ValueError, match="schedule"):
        scheduled().scheduler.load_state_dict(state)


@pytest.mark.refuses("TRN-17")
@pytest.mark.parametrize(
    "options",
    [{"decay": "exponential"}, {"warmup": -1}, {"total": 2}, {"final": 1.5}, {"final": math.nan}],
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        scheduled(**options)
