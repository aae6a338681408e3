"""Each attack is caught as `btard.attacks.expected` says; `python -m tests.node.attackers` tries more seeds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from btard.attacks.expected import CASES, OUTAGES, Case, When
from btard.cli.main import main
from btard_transports.ports import free_endpoints
from tests.node import real_attackers
from tests.node.attackers import play
from tests.node.cluster import Cluster
from tests.node.folder import digits_run, write
from tests.node.processes import Processes

# Whom chance has to find is tried here where chance is kind; the sweep tries all.
KIND_SEED = 0


def attackers(case: Case) -> int:
    """How many attack here: three where all are caught at once, else as few as it takes."""
    return 3 if case.when in (When.AT_ONCE, When.NEVER) else case.least


@pytest.mark.shows("AGR-9", "AGR-10", "VER-13", "VER-19", "VER-20")
@pytest.mark.refuses("VER-1", "VER-2", "VER-3", "VER-4", "VER-5", "VER-6", "VER-18", "MSG-3", "MSG-5", "STP-3")
@pytest.mark.parametrize("case", CASES, ids=[case.attack for case in CASES])
def test_an_attacker_is_caught_and_nobody_else_loses_anything(case: Case) -> None:
    assert play(case, attackers(case), KIND_SEED).problems == ()


# -- the sweep itself -------------------------------------------------------------------------------------


def test_the_sweep_sees_an_attacker_that_is_not_caught() -> None:
    blind = Case("false_vote", When.AT_ONCE, ("MSG-5",))
    (problem,) = play(blind, 1, KIND_SEED).problems
    assert "1 of 1 attackers were not caught" in problem


def test_the_sweep_sees_that_something_wrong_was_applied() -> None:
    found = play(Case("sign_flip", When.VALIDATOR, ("VER-1",)), 1, KIND_SEED).problems
    assert [problem for problem in found if "true gradients" in problem]


# -- several kinds at once --------------------------------------------------------------------------------


@pytest.mark.shows("AGR-9")
@pytest.mark.parametrize("other", ["bad_aggregate", "slander:kind=scalars"])
def test_false_votes_of_a_minority_save_nobody_and_convict_nobody(other: str) -> None:
    name, _, options = other.partition(":")
    attacks = {1: "false_vote@1", 4: "false_vote@1", 6: f"{name}@2:{options}"}
    cluster = Cluster(peers=8, steps=3, attacks=attacks).run()
    cluster.check_agreement()
    assert [(peer, step) for peer, step, _ in cluster.bans()] == [(6, 2)]


# -- judges that take their time --------------------------------------------------------------------------


@pytest.mark.shows("VER-19")
def test_a_report_is_judged_also_where_the_next_step_has_begun() -> None:
    """Nobody waits for a report's votes: what they are about must still be here when a judge gets to it."""
    cluster = Cluster(peers=8, steps=40, seed=1, attacks={2: "vanish@2"}, compute_time=0.04)
    cluster.run_until_expelled(further=2).check_expelled()
    assert [(out["kind"], out["rule"]) for out in cluster.expelled()] == [("remove", "STP-3"), ("ban", "VER-1")]


# -- real processes ---------------------------------------------------------------------------------------

STEPS = 8


def real(folder: Path, peers: int, attacks: Mapping[int, str]) -> dict[int, list[dict[str, Any]]]:
    """What each honest process saw go; all have finished with one model."""
    honest = [peer for peer in range(peers) if peer not in attacks]
    with free_endpoints(peers) as endpoints, Processes(folder) as processes:
        file = write(folder, digits_run(endpoints, STEPS))
        for peer in range(peers):
            more = ["--attack", attacks[peer]] if peer in attacks else []
            processes.start(peer, file, *more)
        statuses = processes.until_over(*honest)
        assert statuses == [0] * len(honest), {peer: processes.errors(peer) for peer in honest}
        assert len({processes.events[peer][-1]["digest"] for peer in honest}) == 1
        return {peer: processes.of(peer, "expelled") for peer in honest}


@pytest.mark.refuses("MSG-5", "VER-4")
def test_two_real_cheats_are_banned_in_the_step_in_which_they_cheat(tmp_path: Path) -> None:
    seen = real(tmp_path, 6, {1: "equivocate@2:phase=reveal", 4: "bad_aggregate@3"})
    for out in seen.values():
        found = [(event["peer"], event["step"], event["rule"], event["kind"]) for event in out]
        assert found == [(1, 2, "MSG-5", "ban"), (4, 3, "VER-4", "ban")]


@pytest.mark.refuses("MSG-4", "NET-7", "NET-8")
def test_real_junk_stops_nobody(tmp_path: Path) -> None:
    """A frame above the limit breaks its sender's link: at worst it loses its place for silence."""
    seen = real(tmp_path, 6, {1: "oversize@2:kind=frame", 4: "garbage@2:kind=frames"})
    for out in seen.values():
        assert {(event["peer"], event["rule"], event["kind"]) for event in out} <= {(1, "STP-3", "remove")}


@pytest.mark.refuses("STP-18", "STP-3", "AGR-4", "AGR-6")
def test_real_peers_that_withhold_or_flood_stop_nobody(tmp_path: Path) -> None:
    cases = [case for case in OUTAGES if case.attack in ("withhold_part:answer=none", "flood")]
    assert real_attackers.play(tmp_path, cases).problems == ()


@pytest.mark.shows("OPS-4", "OPS-5", "OPS-9")
def test_a_real_peer_crashes_in_every_step_and_keeps_its_place(tmp_path: Path) -> None:
    """It starts itself anew, with its journal, and is back in time by what the run file says."""
    with free_endpoints(4) as endpoints, Processes(tmp_path) as processes:
        run = digits_run(endpoints, 3)
        timing = run.timing.with_absence(60_000)  # this machine may be busy
        parameters = evolve(run.parameters, validators=0)  # and so without closing steps
        file = write(tmp_path, evolve(run, timing=timing, parameters=parameters))
        for peer in range(4):
            processes.start(peer, file, *(["--attack", "crash_loop@2:phases=5,away=0"] if peer == 1 else []))
        assert processes.until_over(*range(4)) == [0] * 4, processes.errors(1)
        summaries = [processes.events[peer][-1] for peer in range(4)]
        assert len({summary["digest"] for summary in summaries}) == 1
        assert [summary["expelled"] for summary in summaries] == [[]] * 4
        # In the fifth phase of each step; in the last one nobody may wait for it any more.
        assert [(entry["step"], entry["phase"]) for entry in processes.of(1, "returned")][:1] == [(2, "ACCUSE")]


def test_an_attack_that_cannot_be_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write(
        tmp_path, digits_run([(f"tcp://127.0.0.1:{p}", f"tcp://127.0.0.1:{p + 1}") for p in (1, 3, 5)], 2)
    )
    options = ["peer", "--run", str(run), "--key", str(tmp_path / "p0.key"), "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as stopped:
        main([*options, "--attack", "slander:sort=scalars"])
    assert stopped.value.code == 2
    assert "no option is called 'sort'; slander takes kind" in capsys.readouterr().err
