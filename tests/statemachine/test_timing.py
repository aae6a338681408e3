"""The times of a run file: what is derived holds, and each bound is as sharp as the specification says."""

from typing import Any

import pytest
from attrs import asdict, evolve
from hypothesis import given
from hypothesis import strategies as st

from btard.statemachine.parameters import Timing

GIVEN = (
    "delta",
    "delta_bulk",
    "c_commit",
    "c_aggregate",
    "c_reveal",
    "c_validate",
    "c_accuse",
    "c_judge",
    "c_publish",
)
delays = st.fixed_dictionaries(
    {name: st.integers(1, 10**6) for name in GIVEN} | {"drift_ppm": st.integers(0, 10**5)}
)
timings = delays.map(lambda given: Timing.derive(**given))


def scaled(value: int, timing: Timing) -> int:
    """Multiply by 1 + 2 rho, rounded up."""
    exact = value * (1_000_000 + 2 * timing.drift_ppm)
    return exact // 1_000_000 + bool(exact % 1_000_000)


def bounds(t: Timing) -> dict[str, int]:
    """The right sides of TIM-2 to TIM-6, once more from the specification's text."""
    either = max(t.delta, t.delta_bulk)
    return {
        "t_commit": 2 * t.c_commit + 4 * t.delta,
        "t_validate": 2 * t.c_validate + 4 * t.delta,
        "t_reveal": 2 * t.c_reveal + 3 * t.delta + either,
        "w_bulk": 3 * t.delta + t.delta_bulk,
        "t_publish": t.c_publish + 3 * t.delta + t.delta_bulk,
        "t_reduce": t.w_bulk + t.t_publish + t.delta + either + t.c_aggregate + 3 * t.delta + either,
        "t_accuse": t.c_accuse + 3 * t.delta + either,
        "t_accuse_disputed": t.c_accuse + t.t_publish + 5 * t.delta + either,
        "t_judge": t.c_judge + t.c_accuse + 4 * t.delta + either,
        "t_judge_disputed": t.c_judge + t.c_accuse + 4 * t.delta + either + t.t_publish + 5 * t.delta + either,
    }


RULES = {
    "t_commit": "TIM-2",
    "t_validate": "TIM-2",
    "t_reveal": "TIM-2",
    "w_bulk": "TIM-3",
    "t_publish": "TIM-3",
    "t_reduce": "TIM-4",
    "t_accuse": "TIM-5",
    "t_accuse_disputed": "TIM-5",
    "t_judge": "TIM-6",
    "t_judge_disputed": "TIM-6",
}


@pytest.mark.shows("TIM-1", "TIM-2", "TIM-3", "TIM-4", "TIM-5", "TIM-6")
@given(timing=timings)
def test_derived_times_satisfy_every_bound_and_no_more(timing: Timing) -> None:
    assert list(timing.problems()) == []
    derived = asdict(timing)
    assert {name: derived[name] for name in RULES} == {
        name: scaled(bound, timing) for name, bound in bounds(timing).items()
    }


@pytest.mark.shows("TIM-1")
@given(given=delays)
def test_derived_times_keep_what_was_given(given: dict[str, int]) -> None:
    derived = asdict(Timing.derive(**given))
    assert {name: derived[name] for name in given} == given
    assert derived["pull_grace"] * 4 <= derived["delta"]


def broken(timing: Timing, **changes: Any) -> list[str]:
    return [problem.split(" ")[0] for problem in evolve(timing, **changes).problems()]


def shortened(timing: Timing, name: str) -> list[str]:
    return broken(timing, **{name: getattr(timing, name) - 1})


@pytest.mark.refuses("TIM-2")
@given(timing=timings)
def test_t_commit_t_validate_and_t_reveal_one_unit_lower_are_refused(timing: Timing) -> None:
    for name in ("t_commit", "t_validate", "t_reveal"):
        assert shortened(timing, name) == [name]


@pytest.mark.refuses("TIM-3")
@given(timing=timings)
def test_w_bulk_and_t_publish_one_unit_lower_are_refused(timing: Timing) -> None:
    assert shortened(timing, "w_bulk") == ["w_bulk"]
    assert shortened(timing, "t_publish") == ["t_publish"]


@pytest.mark.refuses("TIM-4")
@given(timing=timings)
def test_t_reduce_one_unit_lower_is_refused(timing: Timing) -> None:
    assert shortened(timing, "t_reduce") == ["t_reduce"]
    # It rests on the other two: who waits longer for parts must leave more room.
    assert broken(timing, w_bulk=timing.w_bulk + 1) == ["t_reduce"]
    assert "t_reduce" in broken(timing, t_publish=timing.t_publish + 1)


@pytest.mark.refuses("TIM-5")
@given(timing=timings)
def test_t_accuse_one_unit_lower_is_refused(timing: Timing) -> None:
    assert shortened(timing, "t_accuse") == ["t_accuse"]
    assert shortened(timing, "t_accuse_disputed") == ["t_accuse_disputed"]


@pytest.mark.refuses("TIM-6")
@given(timing=timings)
def test_t_judge_one_unit_lower_is_refused(timing: Timing) -> None:
    assert shortened(timing, "t_judge") == ["t_judge"]
    assert shortened(timing, "t_judge_disputed") == ["t_judge_disputed"]


@pytest.mark.refuses("TIM-1")
@given(timing=timings)
def test_more_drift_or_a_longer_grace_is_refused(timing: Timing) -> None:
    faster = broken(timing, drift_ppm=timing.drift_ppm + 10**6)
    assert faster == list(timing.minima())  # each bound counts the drift
    assert broken(timing, pull_grace=timing.delta // 4) == []
    assert broken(timing, pull_grace=timing.delta // 4 + 1) == ["pull_grace"]


@pytest.mark.refuses("TIM-2", "TIM-4", "TIM-5", "TIM-6")
@given(timing=timings)
def test_slower_links_or_machines_than_the_times_allow_are_refused(timing: Timing) -> None:
    for delay in ("delta", "delta_bulk", "c_commit", "c_aggregate", "c_reveal", "c_validate", "c_accuse"):
        slower = evolve(timing, **{delay: getattr(timing, delay) + 10**7})
        changed = {
            name for name, bound in bounds(slower).items() if scaled(bound, slower) > getattr(slower, name)
        }
        assert changed
        assert {problem.split(" ")[0] for problem in slower.problems()} == changed


@pytest.mark.refuses("TIM-1")
@pytest.mark.parametrize("name", [*GIVEN, *RULES])
def test_times_must_be_positive(name: str) -> None:
    timing = Timing.derive(**dict.fromkeys(GIVEN, 100))
    for value in (0, -1):
        assert name in broken(timing, **{name: value})
    assert broken(timing, pull_grace=0, drift_ppm=0) == []
    assert "pull_grace" in broken(timing, pull_grace=-1)
    assert "drift_ppm" in broken(timing, drift_ppm=-1)


@pytest.mark.shows("TIM-1", "TIM-2", "TIM-3", "TIM-4", "TIM-5", "TIM-6")
def test_the_times_of_an_example() -> None:
    """100 ms everywhere, no drift: the bounds in units of 100 ms can be read off the specification."""
    timing = Timing.derive(**dict.fromkeys(GIVEN, 100), drift_ppm=0)
    assert {name: getattr(timing, name) for name in RULES} == {
        "t_commit": 600,
        "t_validate": 600,
        "t_reveal": 600,
        "w_bulk": 400,
        "t_publish": 500,
        "t_reduce": 1600,
        "t_accuse": 500,
        "t_accuse_disputed": 1200,
        "t_judge": 700,
        "t_judge_disputed": 1800,
    }
