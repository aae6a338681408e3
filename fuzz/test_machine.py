"""The state machine on the real cores finds nothing, and finds planted faults."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from fuzz.machine import Cluster
from fuzz.planted import CATALOGUE
from fuzz.search.model import Violation

EFFORT = settings(
    max_examples=60,
    stateful_step_count=60,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.shows("AGR-3", "AGR-9", "AGR-14", "STP-9")
def test_whatever_a_liar_does_honest_peers_stay_together_and_finish() -> None:
    run_state_machine_as_test(Cluster, settings=EFFORT)


@pytest.mark.parametrize("name", ["one-is-a-quorum", "no-late", "no-deferring"])
def test_the_machine_finds_planted_faults(name: str) -> None:
    quick = settings(EFFORT, phases=[Phase.generate], max_examples=400)  # one of the first finds it
    with CATALOGUE[name].planted(), pytest.raises(Violation):
        run_state_machine_as_test(Cluster, settings=quick)
