"""How long members let a peer wait, as it keeps it for whoever runs it."""

from __future__ import annotations

from typing import Any

import pytest

from btard.node.lateness import KEPT, OFTEN, Lateness
from btard.statemachine.events import Event, Received
from btard.statemachine.messages import PHASE_BODIES, Reveal
from btard.statemachine.table import STEP_PHASES
from fuzz import byzantine as byz
from fuzz.world import Tamper, World, configs, parameters
from tests.node.cluster import Log
from tests.statemachine.test_late import Even, late_for

SLOW = 3


class Looking(Even):
    """A world whose first peer is looked at after each event."""

    lateness: Lateness

    def step(self, peer: int, event: Event) -> None:
        super().step(peer, event)
        if peer == 0:
            self.lateness.look(self.states[0], self.now / 1000)


def slow(world: World, peer: int, effect: Any) -> Any:
    """All that this peer says comes 300 ms after all others."""
    said = getattr(getattr(effect, "frame", None), "message", None)
    if said is not None and isinstance(said.body, tuple(PHASE_BODIES.values())):
        for receiver in effect.to:
            world.schedule(300, receiver, Received(peer, effect.frame))
        return ()
    return (effect,)


def play(steps: int, tamper: dict[int, Tamper], peers: int = 4) -> tuple[Looking, Log]:
    world, log = Looking(configs(peers, parameters(peers, steps, validators=0)), 1, tamper=tamper), Log()
    world.seen = []
    world.lateness = Lateness(0, 0.1, log)
    world.run(lambda: world.over(set(range(peers)) - tamper.keys()))
    return world, log


@pytest.mark.shows("OPS-16")
def test_every_members_delays_are_kept_by_phase() -> None:
    world, log = play(5, {})
    assert [entry["peer"] for entry in world.lateness.values()] == [1, 2, 3]
    for entry in world.lateness.values():
        assert entry["lates"] == 0
        assert [*entry["phases"]] == [phase.name for phase in STEP_PHASES]
        assert all(0 <= median <= longest < 0.4 for median, longest in entry["phases"].values())
    assert log.events == []


@pytest.mark.shows("OPS-16")
def test_whoever_is_the_last_by_far_is_told_ever_more_rarely() -> None:
    world, log = play(KEPT, {SLOW: slow})
    times = [entry["times"] for entry in log.of("last")]
    assert times == [OFTEN * 2**k for k in range(len(times))]
    assert len(times) >= 4
    assert {entry["peer"] for entry in log.of("last")} == {SLOW}
    assert all(entry["seconds"] > 0.1 for entry in log.of("last"))
    usual = {entry["peer"]: sum(m for m, _ in entry["phases"].values()) for entry in world.lateness.values()}
    assert usual[SLOW] > 0.1 + max(usual[1], usual[2])


@pytest.mark.shows("OPS-16")
def test_lates_are_counted() -> None:
    world, _ = play(4, {SLOW: late_for(lambda step: {0})})
    values = {entry["peer"]: entry for entry in world.lateness.values()}
    assert values[SLOW]["lates"] == 5  # in each step: 0 to 4
    assert values[SLOW]["phases"]["VALIDATE"][0] > configs(4)[0].timing.t_validate / 1000
    assert values[1]["lates"] == 0


def test_who_is_removed_has_no_delay_in_the_phase_in_which_it_fell_silent() -> None:
    world, _ = play(3, {SLOW: byz.silent(Reveal, 2)})
    values = {entry["peer"]: entry for entry in world.lateness.values()}
    assert values[SLOW]["lates"] == 1
    assert values[SLOW]["phases"]["REVEAL"][1] < 0.4
