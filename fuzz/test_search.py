"""The search completes without a violation, and fails with each rule taken away that is needed."""

from __future__ import annotations

import random

import pytest
from attrs import evolve

from btard.statemachine.events import Received
from fuzz.search.__main__ import main
from fuzz.search.catalogue import ALL, FAULTS
from fuzz.search.configurations import CONFIGURATIONS
from fuzz.search.cores import Cores, Outcome
from fuzz.search.halting import HALTING
from fuzz.search.model import Model, Violation, World
from fuzz.search.run import run

IN_CI = [one for one in CONFIGURATIONS.values() if not one.long]


@pytest.mark.shows("AGR-3", "AGR-5", "AGR-9", "AGR-13", "AGR-14", "AGR-15", "STP-9")
@pytest.mark.parametrize("name", [one.name for one in IN_CI])
def test_no_order_of_events_separates_honest_peers(name: str) -> None:
    report = run(CONFIGURATIONS[name])
    print(report.summary())
    assert report.found.violation is None, "\n".join(report.lines)
    assert report.found.complete
    assert report.found.ends


@pytest.mark.shows("AGR-15", "AGR-17", "AGR-19", "AGR-20", "AGR-21", "AGR-23", "AGR-24")
@pytest.mark.parametrize("name", [one.name for one in HALTING.values() if not one.long])
def test_broken_links_make_no_second_history_and_all_go_on(name: str) -> None:
    report = run(HALTING[name])
    print(report.summary())
    assert report.found.violation is None, "\n".join(report.lines)
    assert report.found.complete
    assert report.found.ends


@pytest.mark.parametrize("name", [name for name, fault in FAULTS.items() if not fault.spared])
def test_every_rule_is_needed(name: str) -> None:
    fault = FAULTS[name]
    report = run(evolve(ALL[fault.shows], limit=300_000), fault)
    print(report.summary())
    assert report.found.violation is not None
    assert report.lines or "in the prelude" in report.found.violation
    assert not report.lines or report.lines[-1].endswith(report.found.violation)


@pytest.mark.parametrize("name", [name for name, fault in FAULTS.items() if fault.spared])
def test_rules_that_honest_peers_agree_without(name: str) -> None:
    fault = FAULTS[name]
    report = run(ALL[fault.shows], fault)
    assert report.found.violation is None
    assert report.found.complete


class Doubled(Model):
    """A model beside which every core runs once more, and forgets nothing."""

    def initial(self) -> World:
        """Begin, both ways."""
        self.full = Cores(self.cores.configs, self.cores.oracle, forget=lambda state: state)
        world = super().initial()
        self.states = {
            place: self.full.states.of(self.state(world, place)) for place in range(len(world.peers))
        }
        return world

    def happen(self, world: World, place: int, event: int) -> World:
        """Let an event meet both, and compare what they do."""
        peer, index = world.peers[place], self.honest[place]
        if not peer.gone and hasattr(self, "states"):
            number = self.full.events.of(self.cores.events[event])
            whole = self.full.step(index, self.states[place], number)
            assert effects(self.full, whole) == effects(self.cores, self.cores.step(index, peer.state, event))
            self.states[place] = whole.state
        return super().happen(world, place, event)


def effects(cores: Cores, outcome: Outcome) -> tuple[object, ...]:
    """Return what a peer does, without the numbers of one search."""
    sends = [(receiver, cores.events[event]) for receiver, event in outcome.sends]
    timers = [(cores.timers[timer], delay) for timer, delay in outcome.timers]
    return sends, timers, outcome.offers, outcome.fetches, outcome.log, outcome.released, outcome.fault


@pytest.mark.parametrize(
    "name",
    [
        "last-ok",
        "false-claim",
        "late-publish",
        "at-the-end",
        "equivocate-commit",
        "withhold-part",
        "false-need",
    ],
)
def test_what_the_search_forgets_makes_no_difference(name: str) -> None:
    """Walk at random, with old messages coming again, beside cores that forget nothing."""
    configuration = evolve(CONFIGURATIONS[name], fifo=False, until=lambda state: False)
    for seed in range(12):
        drawn, model = random.Random(seed), Doubled(configuration)
        world, past = model.initial(), []
        for _ in range(150):
            actions = model.actions(world)
            if model.over(world) or not actions:
                break
            kind, first, second = drawn.choice(actions)
            if kind == "deliver":
                event, receiver = world.links[first][second][0], model.pairs[first][1]
                past.append((model.honest.index(receiver), event))
            elif kind == "lie" and isinstance(model.cores.events[second], Received):
                past.append((first, second))
            try:
                world = model.apply(world, (kind, first, second))
                if past and drawn.random() < 0.2:
                    world = model.happen(world, *drawn.choice(past))
            except Violation:  # beyond the place where the configuration ends, bulk may be missing
                break


def test_a_planted_fault_is_told_in_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--planted", "one-is-a-quorum"]) == 0
    printed = capsys.readouterr().out
    assert "skewed-reduce: " in printed
    assert "LIAR 2: late of 2" in printed
    assert "a quorum did not get its message in time" in printed


def test_unknown_names_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--config", "nonsense"], ["--planted", "nonsense"], ["--limit", "0"]):
        with pytest.raises(SystemExit):
            main(arguments)
    assert "there is no 'nonsense'; there are: skewed-reduce" in capsys.readouterr().err


def test_a_search_that_is_cut_short_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--config", "ratify", "--limit", "50"]) == 1
    assert "stopped at the limit" in capsys.readouterr().out
    assert main(["--list"]) == 0
    assert "no-freeze (AGR-11, in last-ok)" in capsys.readouterr().out
