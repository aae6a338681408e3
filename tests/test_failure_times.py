"""The times that the specification gives as an example are those that the code proposes and derives."""

import re
from pathlib import Path

import attrs
import pytest

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
