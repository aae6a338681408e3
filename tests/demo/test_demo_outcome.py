"""From what peers report to figures and to words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from btard.attacks.names import parse
from btard.demo.events import Event, EventError, Expulsion, Summary, parse_line
from btard.demo.outcome import Outcome, outcome_of, summary
from btard.demo.plan import Plan, Variant, make_plan
from btard.demo.state import RunState
from btard.demo.verdict import Finding, findings, status

PLAN = make_plan(
    peers=8,
    steps=200,
    seed=1,
    attacks=["bad_aggregate@60", "sign_flip@60", "sign_flip@60"],
    tau=0.3,
    validators=1,
)
BAD, FIRST, SECOND = sorted(PLAN.attacks, key=lambda peer: (PLAN.attacks[peer].name, peer))
BANS = ((BAD, 60, "VER-4"), (FIRST, 64, "VER-1"), (SECOND, 81, "VER-1"))


def gone(peer: int, step: int, rule: str = "VER-1", kind: str = "ban") -> dict[str, Any]:
    return {"peer": peer, "step": step, "rule": rule, "kind": kind, "reason": "a reason", "applied": 0}


def flat(accuracy: float) -> list[list[float]]:
    return [[step, accuracy] for step in range(5, 201, 5)]


def summary_event(**changes: Any) -> Event:
    usual: dict[str, Any] = {
        "digest": "ab" * 32,
        "steps": 200,
        "closing_steps": 0,
        "failure": None,
        "bytes": {"bulk": 400_000, "control": 20_000},
        "expelled": [],
        "accuracies": flat(0.9),
        "losses": [],
    }
    return Event("summary", usual | changes)


def run_state(variant: Variant = Variant.BTARD, plan: Plan = PLAN) -> RunState:
    return RunState.begin(plan, variant, 1, 1, 0.0)


def outcome(
    variant: Variant = Variant.BTARD,
    accuracy: float = 0.9,
    bans: tuple[tuple[int, int, str], ...] = BANS,
    own: Mapping[int, dict[str, Any]] | None = None,
    unseen_by: tuple[int, ...] = (),
) -> Outcome:
    """Return a run in which every honest peer but some saw the same bans, and some ended in their own way."""
    state = run_state(variant)
    for member in state.honest:
        for ban in bans if member.index not in unseen_by else ():
            state.apply(member.index, Event("expelled", gone(*ban)))
        changes = (own or {}).get(member.index, {})
        state.apply(member.index, summary_event(**{"accuracies": flat(accuracy)} | changes))
        state.exited(member.index, 0)
    return outcome_of(state, "cd" * 32, 60.0)


def texts(outcomes: Mapping[Variant, Outcome]) -> str:
    return "\n".join(finding.text for finding in findings(outcomes))


def compared(btard: float, attack_free: float, undefended: float) -> dict[Variant, Outcome]:
    return {
        Variant.BTARD: outcome(accuracy=btard),
        Variant.ATTACK_FREE: outcome(Variant.ATTACK_FREE, attack_free, bans=()),
        Variant.UNDEFENDED: outcome(Variant.UNDEFENDED, undefended, bans=()),
    }


# -- figures --------------------------------------------------------------------------------------------


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_the_accuracy_is_the_mean_of_the_last_five_evaluations(values: list[float]) -> None:
    curve = [[step, value] for step, value in enumerate(values, 1)]
    own = {peer: {"accuracies": curve} for peer in PLAN.honest}
    last = values[-5:]
    assert outcome(own=own).accuracy == pytest.approx(sum(last) / len(last))


def test_bytes_are_a_mean_over_honest_peers_and_their_steps() -> None:
    few = {PLAN.honest[0]: {"steps": 100, "bytes": {"bulk": 400_000, "control": 20_000}}}
    found = summary({Variant.BTARD: outcome(own=few)})["bytes_per_step"]
    assert found == {"bulk": 2400.0, "control": 120.0}  # four peers send 2000 and 100, one twice that
    closed = {peer: {"closing_steps": 50} for peer in PLAN.honest}
    found = summary({Variant.BTARD: outcome(own=closed)})["bytes_per_step"]
    assert found == {"bulk": 2000.0, "control": 80.0}  # closing steps send control messages alone


def test_digests_are_equal_only_if_every_honest_peer_has_the_same() -> None:
    assert outcome().digests_equal
    assert not outcome(own={PLAN.honest[1]: {"digest": "cd" * 32}}).digests_equal
    assert not outcome(own={PLAN.honest[1]: {"digest": None, "failure": "no"}}).digests_equal


def test_bans_are_those_that_the_first_honest_peer_saw_in_their_order() -> None:
    found = summary({Variant.BTARD: outcome()})
    assert [(ban["peer"], ban["step"], ban["rule"]) for ban in found["bans"]] == list(BANS)
    assert json.loads(json.dumps(found)) == found


def test_a_peer_that_was_expelled_or_failed_is_not_the_one_that_is_shown() -> None:
    first, second, third = PLAN.honest[:3]
    failed = {second: {"failure": "no", "digest": None}}
    assert outcome(bans=(*BANS, (first, 90, "AGR-3")), own=failed, unseen_by=(first,)).observer == third


# -- words ----------------------------------------------------------------------------------------------


def test_everything_as_expected() -> None:
    found = compared(0.975, 0.98, 0.1)
    assert status(findings(found)) == 0
    words = texts(found)
    assert "3 of 3 cheats banned" in words
    assert f"peer-{BAD} (bad_aggregate from step 60): banned in step 60, the very step of its first" in words
    assert "banned in step 64, 4 steps after its first attack, by VER-1: a reason" in words
    assert "the attack cost 0.005 of accuracy" in words
    assert "it is the defence that saved the model" in words


@pytest.mark.parametrize(
    ("main", "says"),
    [
        (outcome(bans=BANS[:2]), "2 of 3 cheats banned"),
        (outcome(bans=((BAD, 61, "VER-4"), *BANS[1:])), "1 step after its first attack"),
        (
            outcome(bans=((BAD, 60, "MSG-3"), *BANS[1:])),
            "MSG-3: a reason; but the rule that it broke is VER-4",
        ),
        (outcome(bans=(*BANS, (PLAN.honest[0], 70, "VER-1"))), "honest peers lost their place"),
        (outcome(unseen_by=PLAN.honest[2:3]), "disagree on who was expelled"),
        (outcome(own={PLAN.honest[3]: {"digest": "cd" * 32}}), "different states"),
        (outcome(own={PLAN.honest[3]: {"failure": "no room"}}), "did not finish: no room"),
    ],
)
def test_what_did_not_come_true(main: Outcome, says: str) -> None:
    failed = [finding.text for finding in findings({Variant.BTARD: main}) if finding.holds is False]
    assert any(says in text for text in failed)
    assert status(findings({Variant.BTARD: main})) == 1


def test_accuracy_that_does_not_come_back_is_a_failure() -> None:
    assert status(findings(compared(0.96, 0.98, 0.1))) == 0
    assert status(findings(compared(0.95, 0.98, 0.1))) == 1


def test_no_recovery_is_expected_within_a_few_steps() -> None:
    found = compared(0.8, 0.98, 0.1)
    found[Variant.BTARD] = outcome(accuracy=0.8, bans=(*BANS[:2], (SECOND, 190, "VER-1")))
    assert status(findings(found)) == 0
    assert "10 steps after the last ban" in texts(found)


def test_an_attack_that_does_no_harm_is_called_so() -> None:
    assert "this attack does little harm by itself" in texts(compared(0.97, 0.97, 0.96))


# -- reports --------------------------------------------------------------------------------------------


@given(st.binary(max_size=200))
def test_any_line_is_an_event_or_none(line: bytes) -> None:
    event = parse_line(line)
    assert event is None or isinstance(event.name, str)


@pytest.mark.parametrize("line", [b"", b"training...", b"[1]", b'{"step": 1}', b'{"event": 3}', b"[" * 10**5])
def test_what_is_no_event(line: bytes) -> None:
    assert parse_line(line) is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
fields = ["peer", "step", "rule", "kind", "reason", "loss", "accuracy", "missing", "epoch", "roster", "phase"]
fields += ["digest", "steps", "failure", "bytes", "expelled", "accuracies", "accuser", "accused"]
names = [
    "waiting",
    "started",
    "phase",
    "progress",
    "roster",
    "expelled",
    "accused",
    "stopped",
    "summary",
    "odd",
]


@given(
    st.sampled_from(names),
    st.dictionaries(st.sampled_from(fields), json_values),
    st.integers(0, PLAN.peers - 1),
)
def test_a_report_that_makes_no_sense_is_an_event_error_and_nothing_else(
    name: str, values: dict[str, Any], peer: int
) -> None:
    state = run_state()
    with suppress(EventError):
        state.apply(peer, Event(name, values))
    assert len(state.members) == PLAN.peers


@pytest.mark.parametrize(
    "changes",
    [{"bytes": 3}, {"expelled": [3]}, {"accuracies": [[1]]}, {"steps": "1"}, {"failure": 3}, {"digest": 3}],
)
def test_a_summary_of_another_form_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(EventError):
        Summary.read(summary_event(**changes))


def test_null_stands_for_a_number_that_is_not_finite() -> None:
    state = run_state()
    state.apply(PLAN.honest[0], Event("progress", {"step": 1, "loss": None}))
    assert state.loss != state.loss


# -- a run that goes on ---------------------------------------------------------------------------------


def test_the_state_follows_the_reports() -> None:
    state = run_state()
    first, second = PLAN.honest[:2]
    state.now = 10.0
    state.apply(first, Event("waiting", {"missing": [2, 5], "seconds": 3}))
    assert state.members[first].doing == "waiting for 2, 5"
    for peer in (first, second):
        state.apply(peer, Event("started", {"step": 0}))
    state.now = 20.0
    for peer, loss in ((first, 1.0), (second, 2.0)):
        state.apply(peer, Event("progress", {"step": 10, "loss": loss, "accuracy": 0.5}))
    assert (state.step, state.loss, state.accuracies) == (10, 1.5, [(10, 0.5)])
    assert state.seconds_left == pytest.approx(190)
    state.apply(first, Event("accused", {"accuser": 1, "accused": BAD}))
    assert state.members[BAD].doing == "accused by 1"
    state.apply(first, Event("expelled", gone(BAD, 60)))
    state.apply(first, Event("roster", {"epoch": 1, "roster": list(PLAN.honest)}))
    assert (state.epoch, state.roster, list(state.expelled)) == (1, PLAN.honest, [BAD])


def by(attack: str, *expelled: tuple[int, str, str]) -> list[Finding]:
    """What is found of the cheats, where one of them attacks so and is gone at (step, rule, kind)."""
    plan = evolve(PLAN, attacks={BAD: parse(attack)})
    state = run_state(plan=plan)
    for member in state.honest:
        for step, rule, kind in expelled:
            state.apply(member.index, Event("expelled", gone(BAD, step, rule) | {"kind": kind}))
        state.apply(member.index, summary_event())
        state.exited(member.index, 0)
    return findings({Variant.BTARD: outcome_of(state, "cd" * 32, 60.0)})[:2]


@pytest.mark.parametrize(
    ("attack", "expelled", "holds", "says"),
    [
        ("false_vote@60", [], (True, None), "kept its place and does no harm: a verdict takes"),
        ("withhold_reveal@60", [(60, "STP-3", "remove")], (True, None), "removed in step 60, the very step"),
        ("withhold_reveal@60", [(60, "VER-1", "ban")], (True, False), "but the rule that it broke is STP-3"),
        ("false_vote@60", [(60, "VER-1", "ban")], (True, False), "but the rule that it broke is none"),
        ("nan@60", [], (False, False), "was not banned within"),
        ("mine.py:Own@60", [(61, "VER-1", "ban")], (True, None), "banned in step 61"),
    ],
)
def test_what_is_expected_of_each_attack(
    attack: str, expelled: list[tuple[int, str, str]], holds: tuple[bool | None, bool | None], says: str
) -> None:
    found = by(attack, *expelled)
    assert (found[0].holds, found[1].holds) == holds
    assert says in found[1].text


def test_who_is_removed_and_then_banned_counts_as_banned() -> None:
    state = run_state()
    peer = PLAN.honest[0]
    for kind in ("remove", "ban", "remove"):
        state.apply(peer, Event("expelled", gone(BAD, 60) | {"kind": kind}))
    assert (state.expelled[BAD].kind, state.members[peer].expelled[BAD].kind) == ("ban", "ban")


def test_cheats_have_no_say() -> None:
    state = run_state()
    state.apply(BAD, Event("expelled", gone(PLAN.honest[0], 60)))
    state.apply(BAD, Event("progress", {"step": 10, "loss": 1.0, "accuracy": 0.5}))
    state.apply(BAD, Event("roster", {"epoch": 1, "roster": [BAD]}))
    state.apply(BAD, Event("error", {"reason": "help"}))
    assert (state.expelled, state.accuracies, state.epoch, state.troubles) == ({}, [], 0, [])


def test_a_trouble_that_all_have_in_every_step_is_told_once() -> None:
    state = run_state()
    for step in (60, 61):
        for peer in PLAN.honest:
            state.apply(peer, Event("error", {"reason": f"step {step}: the gradient holds NaN"}))
    state.apply(PLAN.honest[1], Event("error", {"reason": "the disk is full"}))
    assert state.troubles == [
        f"peer-{PLAN.honest[0]}: step 60: the gradient holds NaN",
        f"peer-{PLAN.honest[1]}: the disk is full",
    ]


def test_words_do_not_make_two_expulsions_differ() -> None:
    assert Expulsion(1, 2, "VER-1", "ban", "one") == Expulsion(1, 2, "VER-1", "ban", "other")
