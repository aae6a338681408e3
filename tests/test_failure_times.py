"""The times that the specification gives as an example are those that the code proposes and derives."""

import re
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from btard.cli.choose import DELAYS_MS
from btard.statemachine.config import faults
from btard.statemachine.parameters import Timing

TEXT = (Path(__file__).parent.parent / "spec" / "75-failures.md").read_text(encoding="utf-8")
TIMING = Timing.derive(**{name: default for name, (default, _) in DELAYS_MS.items()})


@pytest.mark.shows("TIM-2", "TIM-3", "TIM-4", "TIM-5", "TIM-6")
def test_the_table_of_times_is_what_init_proposes_without_measurements() -> None:
    stated = {name: int(value) for name, value in re.findall(r"`(\w+)` \| (\d+)", TEXT)}
    derived = attrs.asdict(TIMING)
    assert stated == {name: derived[name] for name in stated}
    assert set(derived) - set(stated) == {"pull_grace", "drift_ppm"}


def test_the_spans_in_words_follow_from_the_table() -> None:
    phases = [TIMING.t_commit, TIMING.t_reduce, TIMING.t_reveal, TIMING.t_validate, TIMING.t_accuse]
    assert f"{min(phases) // 1000} to {max(phases) // 1000} s" in TEXT
    agreement = 2 * (faults(8) + 1) * TIMING.delta + TIMING.c_judge + TIMING.c_commit
    assert f"{agreement // 1000} s more" in TEXT


@pytest.mark.shows("TIM-2", "TIM-3", "TIM-4", "TIM-5", "TIM-6")
@given(st.integers(0, 10**9))
def test_who_is_absent_for_so_long_is_in_time_in_every_phase(absence: int) -> None:
    """That is, T_p exceeds its least by as much: also where that holds T_publish, which is longer, too."""
    timing = TIMING.with_absence(absence)
    assert list(timing.problems()) == []
    excess = {name: getattr(timing, name) - least for name, least in timing.minima().items()}
    assert excess == {name: 0 if name == "w_bulk" else absence for name in excess}
    bounds = [name for name in attrs.asdict(TIMING) if not name.startswith("t_")]
    assert [getattr(timing, name) for name in bounds] == [getattr(TIMING, name) for name in bounds]
    assert timing.with_absence(7) == TIMING.with_absence(absence + 7)
