"""Peers as real processes over ZeroMQ with CURVE: they finish, say whom they miss, and end when told to."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import closing
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from attrs import evolve

from btard.cli.main import main
from btard.genesis import RunFile
from btard.node.journal import Journal, journal_path
from btard.training.checkpoint import load_model
from btard.training.digits import DigitsTask
from btard_transports.ports import free_endpoints
from tests.node.cluster import key
from tests.node.folder import digits_run, write
from tests.node.processes import Processes, listening

PEERS = range(4)
STEPS = 5
CLOSING = 3  # one of four peers validates in the last step, so three contribute


# -- a whole run ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunFile, Processes]]:
    """Four peers that have trained together."""
    folder = tmp_path_factory.mktemp("finished")
    with free_endpoints(len(PEERS)) as endpoints, Processes(folder) as processes:
        run = digits_run(endpoints, STEPS)
        file = write(folder, run)
        for peer in PEERS:
            processes.start(peer, file)
        statuses = processes.until_over(*PEERS)
        assert statuses == [0] * len(PEERS), {peer: processes.errors(peer) for peer in PEERS}
        yield run, processes


@pytest.mark.shows("STP-11", "GEN-7", "GEN-8", "NET-1")
def test_all_finish_with_one_model(finished: tuple[RunFile, Processes]) -> None:
    _, processes = finished
    summaries = [processes.events[peer][-1] for peer in PEERS]
    assert {summary["event"] for summary in summaries} == {"summary"}
    assert {summary["steps"] for summary in summaries} == {STEPS}
    assert {summary["closing_steps"] for summary in summaries} == {CLOSING}
    (digest,) = {summary["digest"] for summary in summaries}
    assert {processes.of(peer, "finished")[0]["digest"] for peer in PEERS} == {digest}
    assert [summary["expelled"] for summary in summaries] == [[]] * len(PEERS)
    for peer in PEERS:
        assert processes.errors(peer) == []
        assert [entry["step"] for entry in processes.of(peer, "certified")] == [*range(STEPS + CLOSING + 1)]


@pytest.mark.shows("TRN-12")
def test_the_trained_model_is_saved(finished: tuple[RunFile, Processes]) -> None:
    run, processes = finished
    tasks = [DigitsTask(run.seed, batch_size=8) for _ in PEERS]
    for peer, task in enumerate(tasks):
        assert load_model(task, processes.out(peer) / "model.safetensors") == (run.run_id, STEPS)
        assert torch.equal(task.parameters_vector(), tasks[0].parameters_vector())
    assert not torch.equal(tasks[0].parameters_vector(), DigitsTask(run.seed).parameters_vector())


def test_the_summary_says_how_it_went(finished: tuple[RunFile, Processes]) -> None:
    run, processes = finished
    summary = processes.events[0][-1]
    assert summary["failure"] is None
    assert [step for step, _ in summary["losses"]] == [*range(1, STEPS + 1)]
    assert [step for step, _ in summary["accuracies"]] == [3, STEPS]
    assert summary["accuracies"][-1][1] > 0.1  # better than guessing, after so few steps
    # Three of four parts to their aggregators, and one aggregate to three others, in float32; a validator
    # sends no parts.
    assert summary["bytes"]["bulk"] <= STEPS * 4 * 1.5 * run.parameters.dimension * 1.01
    assert 0 < summary["bytes"]["control"] < summary["bytes"]["bulk"]


@pytest.mark.shows("MSG-7")
def test_journal_and_events_are_kept(finished: tuple[RunFile, Processes]) -> None:
    run, processes = finished
    for peer in PEERS:
        path = journal_path(processes.out(peer), run.run_id)
        with closing(Journal(path, run.run_id, key(peer).sign_public, version("btard"))) as journal:
            assert journal.signatures >= 7 * (STEPS + 1)  # five phases and two ENTER
        lines = (processes.out(peer) / "events.jsonl").read_text().splitlines()
        assert [json.loads(line) for line in lines] == processes.events[peer]


def test_nothing_is_left_behind(finished: tuple[RunFile, Processes]) -> None:
    run, processes = finished
    assert not any(processes.left_behind(peer) for peer in PEERS)
    assert listening(run) == []


@pytest.mark.refuses("OPS-8")
def test_a_finished_run_is_not_run_again(
    finished: tuple[RunFile, Processes], capsys: pytest.CaptureFixture[str]
) -> None:
    _, processes = finished
    assert main(["peer", *processes.options(0, processes.folder / "run.toml")]) == 0
    *_, line = capsys.readouterr().err.splitlines()
    assert "this run is finished here already: the model is in" in line


# -- waiting, and being told to end -----------------------------------------------------------------------


@pytest.mark.shows("GEN-8")
@pytest.mark.refuses("GEN-7")
def test_who_is_missing_and_who_has_another_run_file_is_said_until_ctrl_c(tmp_path: Path) -> None:
    """Peer 3 never comes, peer 2 has another run file with the same keys."""
    with free_endpoints(len(PEERS)) as endpoints, Processes(tmp_path) as processes:
        run = digits_run(endpoints, STEPS)
        file = write(tmp_path, run)
        other = write(tmp_path, evolve(run, name="other"), "other.toml")
        for peer in (0, 1, 2):
            processes.start(peer, other if peer == 2 else file, "--wait", "1000")
        wanted = {0: [2, 3], 1: [2, 3], 2: [0, 1, 3]}
        wrong = {0: {2}, 1: {2}, 2: {0, 1}}

        def told() -> bool:
            waiting = {p: processes.of(p, "waiting")[-1:] for p in wanted}
            named = {p: {entry["peer"] for entry in processes.of(p, "mismatch")} for p in wanted}
            return named == wrong and all(waiting[p] and waiting[p][0]["missing"] == wanted[p] for p in wanted)

        processes.until(told)
        for peer in wanted:
            assert not processes.of(peer, "started")
            for entry in processes.of(peer, "mismatch"):
                assert "it has another run file" in entry["reason"]
                assert "give all peers the same file" in entry["reason"]
        for peer, number in ((0, signal.SIGINT), (1, signal.SIGTERM), (2, signal.SIGINT)):
            processes.signal(peer, number)
        assert processes.until_over(0, 1, 2) == [130] * 3
        for peer in wanted:
            assert processes.errors(peer) == ["btard: interrupted"]
            assert not list(processes.out(peer).glob("journal-*"))  # so it can be started again
            assert not processes.left_behind(peer)
        assert listening(run) == []


@pytest.mark.shows("GEN-8")
def test_ctrl_c_in_the_middle_of_a_run_leaves_nothing_behind(tmp_path: Path) -> None:
    with free_endpoints(len(PEERS)) as endpoints, Processes(tmp_path) as processes:
        run = digits_run(endpoints, 100_000)
        file = write(tmp_path, run)
        for peer in PEERS:
            processes.start(peer, file)
        processes.until(lambda: all(len(processes.of(peer, "certified")) > 2 for peer in PEERS))
        for peer in PEERS:
            processes.signal(peer, signal.SIGTERM if peer % 2 else signal.SIGINT)
        assert processes.until_over(*PEERS) == [130] * len(PEERS)
        for peer in PEERS:
            assert processes.errors(peer) == ["btard: interrupted"]
            assert not processes.left_behind(peer)
            assert not (processes.out(peer) / "model.safetensors").exists()
            assert journal_path(processes.out(peer), run.run_id).exists()  # so it can go on
        assert listening(run) == []
