"""What a person reads: names in place of numbers, one line for each thing, nothing twice."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from btard.node.words import MAX_NAMES, Names, Narrator, listed

NAMES = Names(["alice", "bob", "carol", "dave"])


def narrator() -> Narrator:
    return Narrator(NAMES, steps=100, status="btard status --out a")


def told(fields: dict[str, Any], t: float = 0.0, by: Narrator | None = None) -> str | None:
    line = (by or narrator()).tell(fields.pop("event"), t, fields)
    return None if line is None else f"{line.level}: {line.text}"


@given(st.lists(st.integers(0, 3), min_size=1, unique=True))
def test_names_stand_in_for_numbers(peers: list[int]) -> None:
    assert NAMES.put(f"step 3: the parts of peers {peers} did not come") == (
        f"step 3: the parts of {NAMES.list(peers)} did not come"
    )
    for peer in peers:
        name = NAMES.of(peer)
        assert NAMES.put(f"a claim on peer {peer}: peer {peer}") == f"a claim on {name}: {name}"


@given(st.text())
def test_any_text_can_be_put_in_names(text: str) -> None:
    assert isinstance(NAMES.put(text), str)
    if "peer" not in text:
        assert NAMES.put(text) == text


def test_a_number_that_nobody_has_stays_a_number() -> None:
    assert NAMES.put("peer 17 and peers [1, 99]") == "peer 17 and bob and peer 99"
    assert NAMES.put("of that peer 0.1.0 is the version") == "of that peer 0.1.0 is the version"


@given(st.lists(st.sampled_from("abc"), max_size=40))
def test_lists_are_short(words: list[str]) -> None:
    assert listed(words).count("a") <= MAX_NAMES + 1
    assert listed(words[:1]) == "".join(words[:1])


BAN = {"event": "expelled", "peer": 3, "step": 7, "rule": "VER-6", "kind": "ban", "applied": 0}
WAITING = {"event": "waiting", "missing": [1], "reasons": ["tcp://h:1: nobody listens there"], "seconds": 3.0}
SLOW = {"event": "awaiting", "step": 7, "phase": "COMMIT", "seconds": 4.0}
LINES: list[tuple[dict[str, Any], str]] = [
    (WAITING, "info: waiting for bob (tcp://h:1: nobody listens there)"),
    (
        {"event": "last", "peer": 1, "step": 7, "phase": "REDUCE", "seconds": 3.125, "times": 8},
        "warning: step 7: bob is the last by far, 8 times by now: its REDUCE came 3.12 s after all others'",
    ),
    ({"event": "joined", "peer": 1, "missing": [2, 3]}, "info: bob is here; carol and dave to come"),
    ({"event": "joined", "peer": 1, "missing": []}, "info: bob is here"),
    ({"event": "mismatch", "peer": 2, "reason": "peer 2: it runs btard 9"}, "error: carol: it runs btard 9"),
    (
        {**SLOW, "missing": [0, 2], "reasons": ["computing", ""]},
        "warning: step 7, COMMIT: waiting for alice (computing) and carol, 4 s",
    ),
    (
        {**SLOW, "phase": "SETTLE", "missing": [], "reasons": []},
        "info: step 7, SETTLE: agreeing on who is out takes its time, 4 s",
    ),
    (
        {**BAN, "reason": "raised a false scalars claim on peer 1"},
        "error: step 7: dave is banned: raised a false scalars claim on bob (VER-6)",
    ),
    (
        {**BAN, "kind": "remove", "rule": "STP-3", "reason": "late"},
        "error: step 7: dave is removed: late (STP-3)",
    ),
    (
        {**BAN, "rule": "VER-1", "reason": "cheated", "applied": 6},
        "error: step 7: dave is banned: cheated (VER-1); the update of step 6 holds its part",
    ),
    (
        {"event": "drifted", "step": 7, "peers": [1, 2]},
        "warning: step 7: the model of bob and carol is not the one that a majority holds (bad memory, or "
        "another numerics class?): it is replaced, without a contribution in this step",
    ),
    ({"event": "roster", "epoch": 1, "roster": [0, 1, 2]}, "info: members from now on: alice, bob and carol"),
    (
        {"event": "accused", "step": 7, "accuser": 0, "accused": 3, "reason": "gradient claim, part 0"},
        "warning: step 7: alice accuses dave (gradient claim, part 0); all peers judge it",
    ),
    (
        {"event": "garbage", "peer": 3, "reason": "no frame", "times": 4},
        "warning: dave sent garbage: no frame, 4 times by now",
    ),
    (
        {"event": "halted", "step": 7, "reason": "no quorum", "held": []},
        "error: halted: no quorum; it asks the others meanwhile, and goes on by itself when they are back; "
        "btard status --out a says more",
    ),
    (
        {"event": "halted", "step": 7, "reason": "peer 3 would be removed: repair it", "held": [3]},
        "error: halted: dave would be removed: repair it; it asks the others meanwhile",
    ),
    ({"event": "phase", "epoch": 0, "step": 102, "phase": "COMMIT"}, "detail: closing step 2: COMMIT"),
    ({"event": "phase", "epoch": 0, "step": 7, "phase": "COMMIT"}, "detail: step 7: COMMIT"),
]


@pytest.mark.parametrize(("fields", "line"), LINES)
def test_each_thing_in_one_line(fields: dict[str, Any], line: str) -> None:
    assert told(dict(fields)) == line


def test_the_end_names_what_the_model_holds_of_the_banned() -> None:
    teller = narrator()
    told({**BAN, "rule": "VER-1", "reason": "cheated", "applied": 6}, by=teller)
    told({**BAN, "peer": 1, "reason": "lied"}, by=teller)
    last = told({"event": "finished", "digest": "ab" * 32}, by=teller)
    assert last is not None
    assert last.endswith("at every peer; what it holds of the banned: dave in step 6")


def test_closing_steps_are_announced_once() -> None:
    teller, first = narrator(), {"event": "phase", "epoch": 0, "step": 101, "phase": "COMMIT"}
    lines = [told({**first, "phase": phase}, by=teller) for phase in ("COMMIT", "REDUCE", "COMMIT")]
    assert lines[0] == "info: all 100 updates are made; closing steps look at the last one's gradients"
    assert lines[1:] == ["detail: closing step 1: REDUCE", "detail: closing step 1: COMMIT"]
    assert told({**first, "phase": "DONE"}) == "detail: closing step 1: DONE"


def test_what_nobody_needs_to_read() -> None:
    assert told({"event": "summary", "digest": "00"}) is None
    assert told({"event": "stopped", "reason": "said at the end anyway"}) is None


def test_waiting_for_the_same_is_said_again_only_after_a_while() -> None:
    teller = narrator()
    lines = [told(dict(WAITING), t, teller) for t in (3.0, 6.0, 9.0, 33.0, 36.0)]
    assert [line is not None for line in lines] == [True, False, False, True, False]
    other = {**WAITING, "reasons": ["no connection yet"]}
    assert told(other, 39.0, teller) == "info: waiting for bob (no connection yet)"


def test_progress_is_told_where_it_was_evaluated_and_now_and_then() -> None:
    teller = narrator()
    teller.tell("started", 0.0, {})
    levels = {}
    for step in range(1, 101):
        accuracy = {"accuracy": 0.5} if step % 10 == 0 else {}
        line = teller.tell("progress", step * 0.5, {"step": step, "loss": 1.25, **accuracy})
        assert line is not None
        levels[step] = line.level
    assert {step for step, level in levels.items() if level == "info"} == {1, *range(10, 101, 10)}
    assert line.text == "step 100 of 100, loss 1.25, accuracy 0.5, 120 steps a minute"


def test_fast_training_does_not_flood_the_terminal() -> None:
    teller = narrator()
    values = {"loss": 1.0, "accuracy": 0.5}
    lines = [teller.tell("progress", step / 1000, {"step": step, **values}) for step in range(100)]
    assert sum(line is not None and line.level == "info" for line in lines) == 1


def test_links_matter_while_training() -> None:
    teller = narrator()
    up, down = {"peer": 1, "up": True}, {"peer": 1, "up": False}
    lines = [teller.tell("link", 0.0, up), teller.tell("link", 1.0, down)]
    teller.tell("started", 2.0, {})
    lines += [teller.tell("link", 3.0, up), teller.tell("link", 4.0, down), teller.tell("link", 5.0, up)]
    teller.tell("finished", 6.0, {"digest": "00"})
    lines += [teller.tell("link", 7.0, down)]
    assert [(line.level, line.text) for line in lines if line is not None] == [
        ("detail", "the link to bob is up"),
        ("detail", "the link to bob is down"),
        ("info", "the link to bob is up again"),
        ("warning", "the link to bob is down"),
        ("info", "the link to bob is up again"),
        ("detail", "the link to bob is down"),
    ]
