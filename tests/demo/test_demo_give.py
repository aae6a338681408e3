"""A whole demonstration with peers that only pretend: what it writes, says and leaves behind."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from btard.demo.plan import Variant
from btard.demo.setup import MARKER
from btard.demo.verdict import findings, status
from btard.errors import BtardError
from btard.runfile import load
from tests.demo.stage import BANNED, CHEAT, HONEST, PLAN, stage

SUMMARY_KEYS = ["run_id", "peers", "steps", "byzantine", "bans", "honest_banned", "accuracy"]
SUMMARY_KEYS += ["digests_equal", "bytes_per_step"]


def summary_in(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return found


def test_three_runs_are_compared(tmp_path: Path) -> None:
    outcomes, printed = stage(tmp_path / "out", BANNED, compare=True)
    found = summary_in(tmp_path / "out")
    assert list(found) == SUMMARY_KEYS
    assert (found["peers"], found["steps"], found["honest_banned"], found["digests_equal"]) == (
        4,
        20,
        0,
        True,
    )
    assert found["byzantine"] == [{"peer": CHEAT, "attack": "sign_flip", "from_step": 6}]
    assert found["bans"] == [{"peer": CHEAT, "step": 8, "rule": "VER-1", "kind": "ban", "applied": 7}]
    # the fake peers' last five evaluations, at steps 16 to 20, in each run
    accuracy = sum(1 - 1 / (1 + step) for step in range(16, 21)) / 5
    assert found["accuracy"] == pytest.approx(dict.fromkeys(("btard", "attack_free", "undefended"), accuracy))
    assert found["bytes_per_step"]["bulk"] == 1000
    assert found["bytes_per_step"]["control"] == pytest.approx(sum(10 * (1 + p) for p in HONEST) / 3, abs=0.05)
    assert status(findings(outcomes)) == 0
    assert re.search(rf"peer-{CHEAT} \(sign_flip\) banned in step 8 by VER-1: broke VER-1", printed)
    assert printed.index("Run 1 of 3") < printed.index("Run 2 of 3") < printed.index("Run 3 of 3")


def test_the_run_files_differ_in_what_is_compared_and_in_nothing_else(tmp_path: Path) -> None:
    stage(tmp_path / "out", BANNED, compare=True)
    runs = {variant: load(tmp_path / "out" / variant.value / "run.toml") for variant in Variant}
    assert len({run.seed for run in runs.values()}) == 1
    assert len({run.timing for run in runs.values()}) == 1
    assert {variant: run.parameters for variant, run in runs.items()} == {
        variant: PLAN.parameters(variant, 1000) for variant in Variant
    }
    assert summary_in(tmp_path / "out")["run_id"] == runs[Variant.BTARD].run_id.hex()


def test_without_comparison_there_is_one_run(tmp_path: Path) -> None:
    outcomes, _ = stage(tmp_path / "out", BANNED)
    found = summary_in(tmp_path / "out")
    assert list(outcomes) == [Variant.BTARD]
    assert found["accuracy"]["btard"] is not None
    assert found["accuracy"]["attack_free"] is found["accuracy"]["undefended"] is None
    assert (tmp_path / "out" / "comparison.png").stat().st_size > 10_000


def test_a_comparison_that_fails_does_not_take_the_main_run_along(tmp_path: Path) -> None:
    dying = BANNED | {"attack_free": {"die_at": {str(HONEST[0]): 3}}}
    with pytest.raises(BtardError, match="died"):
        stage(tmp_path / "out", dying, compare=True)
    assert summary_in(tmp_path / "out")["accuracy"]["btard"] is not None


def test_a_model_that_the_mean_has_ruined_may_stop_its_run(tmp_path: Path) -> None:
    overflow = {str(peer): "the gradient holds an infinity" for peer in range(PLAN.peers)}
    outcomes, printed = stage(tmp_path / "out", BANNED | {"undefended": {"failures": overflow}}, compare=True)
    assert "-- that run ended in step 20; peer-0: the gradient holds an infinity" in printed
    assert status(findings(outcomes)) == 0


def test_the_model_is_that_of_the_first_honest_peer(tmp_path: Path) -> None:
    stage(tmp_path / "out", BANNED)
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == b"the model of %d" % HONEST[0]


def test_peers_are_told_nothing_of_the_demonstrations_own_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BTARD_ATTACK", "sign_flip")
    stage(tmp_path / "out", BANNED)
    environment = (tmp_path / "out" / "btard" / f"peer-{HONEST[0]}" / "environment").read_text()
    assert "BTARD_ATTACK" not in environment
    assert "OMP_NUM_THREADS=1" in environment


@pytest.mark.parametrize(
    ("play", "says"),
    [
        ({}, rf"peer-{CHEAT} \(sign_flip from step 6\) was not banned within 20 steps"),
        (
            {"expel": [[8, CHEAT, "AGR-3", "remove"]]},
            "removed in step 8, .* but the rule that it broke is VER-1",
        ),
        (
            {"expel": [[7, HONEST[1], "VER-1", "ban"], [8, CHEAT, "VER-1", "ban"]]},
            rf"honest peers lost their place: peer-{HONEST[1]} banned in step 7 by VER-1",
        ),
        (BANNED | {"digests": {str(HONEST[0]): "cd" * 32}}, "different states"),
        (BANNED | {"failures": {str(HONEST[2]): "the disk is full"}}, "did not finish: the disk is full"),
    ],
)
def test_what_does_not_come_true_is_said_plainly(tmp_path: Path, play: dict[str, Any], says: str) -> None:
    outcomes, printed = stage(tmp_path / "out", play)
    assert status(findings(outcomes)) == 1
    assert re.search(rf"NO .*{says}", printed)
    assert "Not everything came true" in printed


def test_honest_peers_that_lost_their_place_are_counted(tmp_path: Path) -> None:
    stage(tmp_path / "out", {"expel": [[7, HONEST[0], "AGR-3", "remove"], [8, CHEAT, "VER-1", "ban"]]})
    found = summary_in(tmp_path / "out")
    assert found["honest_banned"] == 1
    assert {(gone["peer"], gone["kind"]) for gone in found["bans"]} == {(HONEST[0], "remove"), (CHEAT, "ban")}


def test_an_honest_peer_that_dies_stops_it_and_its_last_words_are_shown(tmp_path: Path) -> None:
    with pytest.raises(BtardError, match=rf"peer-{HONEST[1]} died: .*status 1") as stopped:
        stage(tmp_path / "out", {"die_at": {str(HONEST[1]): 3}})
    assert "killed by nobody" in str(stopped.value)
    assert "a line that is no event" in str(stopped.value)


def test_a_cheat_that_dies_does_not_stop_the_others(tmp_path: Path) -> None:
    outcomes, printed = stage(tmp_path / "out", {"die_at": {str(CHEAT): 3}})
    assert outcomes[Variant.BTARD].steps == 20
    assert "NO 0 of 1 cheat banned" in printed


def test_peers_that_all_stand_still_stop_it(tmp_path: Path) -> None:
    still = {"stall_at": {str(peer): 4 for peer in range(PLAN.peers)}}
    with pytest.raises(BtardError, match=r"nothing has happened for 1 s; peer-\d is .* in step 3 COMMIT"):
        stage(tmp_path / "out", still, stall_seconds=1.0)


def test_a_run_is_over_with_its_honest_peers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("btard.demo.supervise.LINGER_SECONDS", 0.0)
    outcomes, _ = stage(tmp_path / "out", {"stall_at": {str(CHEAT): 3}})
    assert outcomes[Variant.BTARD].steps == 20


def test_an_earlier_demonstration_is_replaced_and_what_others_put_there_stays(tmp_path: Path) -> None:
    stage(tmp_path / "out", BANNED, compare=True)
    (tmp_path / "out" / "notes.txt").write_text("mine")
    stage(tmp_path / "out", BANNED)
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"
    assert not (tmp_path / "out" / "attack_free").exists()
    assert (tmp_path / "out" / MARKER).is_file()


def test_a_folder_of_others_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text("{}")
    with pytest.raises(BtardError, match="holds something that is not a demo's; choose another --out"):
        stage(tmp_path, BANNED)
    assert [path.name for path in tmp_path.iterdir()] == ["summary.json"]


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(BtardError, match="is no folder"):
        stage(tmp_path / "out", BANNED)


def test_secrets_are_the_owners_alone(tmp_path: Path) -> None:
    stage(tmp_path / "out", BANNED)
    keys = sorted((tmp_path / "out" / "btard").glob("*.key"))
    assert len(keys) == PLAN.peers
    assert {key.stat().st_mode & 0o077 for key in keys} == {0}
