"""Which runs the benchmark of all attackers makes, and what it calls a failure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from benchmarks.attackers import FIRST, LOSS_GOAL, RESULTS, Result, Trial, main, trials
from benchmarks.kept import Kept, Record, accuracy_at
from btard.attacks.expected import CASES
from btard.demo.events import Expulsion
from btard.demo.outcome import Outcome
from btard.demo.plan import Variant

SEEDS = (1, 2)
CASE = {case.attack: case for case in CASES}


def test_every_attack_is_tried_by_one_and_by_three_with_every_seed_and_in_every_form() -> None:
    planned = list(trials(CASES, SEEDS, all_forms=False))
    for name in {case.name for case in CASES}:
        mine = [trial for trial in planned if trial.case.name == name]
        least = mine[0].case.least
        assert {(trial.attackers, trial.seed) for trial in mine} >= {(k, s) for k in (least, 3) for s in SEEDS}
        assert {trial.case for trial in mine} == {case for case in CASES if case.name == name}
        for trial in mine:
            assert len(trial.plan.attacks) == trial.attackers
            assert trial.plan.steps >= FIRST + trial.within
    assert len(list(trials(CASES, SEEDS, all_forms=True))) == len(CASES) * 2 * len(SEEDS)


def outcome(trial: Trial, expelled: tuple[Expulsion, ...], **changes: Any) -> Outcome:
    plan = trial.plan
    base = Outcome(
        plan=plan,
        variant=Variant.BTARD,
        run_id="00",
        seconds=1.0,
        steps=plan.steps,
        accuracies=((plan.steps, 0.97),),
        losses=(),
        expelled=expelled,
        agreed=True,
        digests=dict.fromkeys(plan.honest, "00"),
        failures={},
        bulk_per_step=0.0,
        control_per_step=0.0,
        observer=plan.honest[0],
    )
    return evolve(base, **changes)


def out(peer: int, step: int = FIRST, rule: str = "VER-4", kind: str = "ban") -> Expulsion:
    return Expulsion(peer=peer, step=step, rule=rule, kind=kind, reason="so")


def problems(attack: str, attackers: int, *expelled: Expulsion, **changes: Any) -> list[str]:
    trial = Trial(CASE[attack], attackers, 1)
    found = outcome(trial, expelled, **changes)
    return list(Result(trial, found, outcome(trial, ()).accuracies).problems())


def cheats(attack: str, attackers: int) -> list[int]:
    return sorted(Trial(CASE[attack], attackers, 1).plan.attacks)


def test_all_caught_in_time_is_no_problem() -> None:
    assert problems("bad_aggregate", 3, *(out(peer) for peer in cheats("bad_aggregate", 3))) == []
    assert problems("false_vote", 3) == []


PAIR = "bad_sketch_pair:partner={partners},shift=0.01"


def test_who_is_left_alone_of_three_colluders_may_stay() -> None:
    caught = [out(peer, rule="VER-1") for peer in cheats(PAIR, 3)]
    assert problems(PAIR, 3, *caught[:2]) == []
    assert problems(PAIR, 3, caught[0]) == ["2 of 3 attackers kept their place"]
    caught = [out(peer, rule="VER-1") for peer in cheats(PAIR, 2)]
    assert problems(PAIR, 2, caught[0]) == ["1 of 2 attackers kept their place"]


@pytest.mark.parametrize(
    ("expelled", "changes", "says"),
    [
        ({}, {}, "1 of 1 attackers kept their place"),
        ({"step": FIRST + 2}, {}, "caught after 2 steps, more than the 1 that are stated"),
        ({"rule": "VER-1"}, {}, "by VER-1 (so); expected ban by ('VER-4',)"),
        ({"kind": "remove"}, {}, "expected ban by ('VER-4',)"),
        ({"step": FIRST}, {"failures": {0: "no memory"}}, "honest peer 0 did not finish: no memory"),
        ({"step": FIRST}, {"digests": {0: "00", 1: "11"}}, "honest peers ended with different states"),
        (
            {"step": FIRST},
            {"accuracies": ((80, 0.97 - LOSS_GOAL - 0.001),)},
            "accuracy 0.949, without attack 0.970",
        ),
    ],
)
def test_what_is_a_problem(expelled: dict[str, Any], changes: dict[str, Any], says: str) -> None:
    (cheat,) = cheats("bad_aggregate", 1)
    (found,) = problems("bad_aggregate", 1, *([out(cheat, **expelled)] if expelled else []), **changes)
    assert says in found


def test_an_honest_peer_that_is_out_is_a_problem() -> None:
    (cheat,) = cheats("bad_aggregate", 1)
    victim = (cheat + 1) % 8
    (found,) = problems("bad_aggregate", 1, out(cheat), out(victim, rule="STP-3", kind="remove"))
    assert found == f"honest peer {victim} removed in step {FIRST} by STP-3: so"


def test_an_unknown_attack_is_refused_with_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--attack", "sign_flop"])
    shown = capsys.readouterr().err
    assert "no attack begins with 'sign_flop'; there are sign_flip" in shown


def test_what_was_kept_is_read_again_and_goes_on(tmp_path: Path) -> None:
    kept = Kept.read(tmp_path / RESULTS)
    record = Record("nan", 3, 2, row="nan ...", problems=("1 of 3 attackers kept their place",))
    kept.add(record)
    kept.add_curve(2, ((78, 0.96), (80, 0.97)))
    again = Kept.read(tmp_path / RESULTS)
    assert again.records == {record.key: record}
    assert again.curves == {2: ((78, 0.96), (80, 0.97))}


def test_runs_that_are_kept_are_not_run_again_and_their_problems_count(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = Kept.read(tmp_path / RESULTS)
    for trial in trials([CASE["nan"]], [1], all_forms=False):
        kept.add(Record(*trial.key, row=f"row of {trial.title}", problems=()))
    arguments = ["--attack", "nan", "--seeds", "1", "--out", str(tmp_path)]
    assert main([*arguments, "--resume"]) == 0
    shown = capsys.readouterr().out
    assert "row of nan-1-of-8-seed-1\nrow of nan-3-of-8-seed-1\n2 runs, 0 not as promised, 0 broke off" in shown
    kept.add(Record("nan", 3, 1, row="row", problems=("honest peers ended with different states",)))
    assert main([*arguments, "--resume"]) == 1
    with pytest.raises(SystemExit):
        main(arguments)


def test_accuracy_without_attack_is_taken_after_as_many_steps() -> None:
    curve = tuple((step, step / 100) for step in range(2, 101, 2))
    assert accuracy_at(curve, 81) == pytest.approx((72 + 74 + 76 + 78 + 80) / 500)
    assert accuracy_at(curve, 1) is None
