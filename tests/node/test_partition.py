"""Links between real peers are cut, five of eight from the other three or all; then the cut heals."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from attrs import evolve

from btard.cli.main import main
from btard.ledger.book import Book, open_book
from btard.node.status_file import read_status
from btard.node.words import Names
from btard.statemachine.ending import Ending
from btard.training.checkpoint import load_model
from btard.training.digits import DigitsTask
from btard_transports.ports import free_endpoints
from tests.node.folder import SEED, digits_run, write
from tests.node.processes import Processes
from tests.node.relay import Relay

PEERS = range(8)
MANY, FEW = range(5), range(5, 8)
LASTS = 30.0  # seconds
BEFORE = 2  # steps certified before the cut


@contextlib.contextmanager
def cut(folder: Path, late_brake: int, steps: int, *groups: Iterable[int]) -> Iterator[tuple[Processes, Relay]]:
    """Start a run of all that are in the groups, and part these when the first steps are done."""
    peers = sorted(peer for group in groups for peer in group)
    n = len(peers)
    with free_endpoints(n) as fronts, free_endpoints(n) as backs, Processes(folder) as processes:
        run = digits_run(fronts, steps)
        file = write(folder, evolve(run, parameters=evolve(run.parameters, late_brake=late_brake)))
        relay = Relay(fronts, backs, lambda: {peer: popen.pid for peer, popen in processes.popens.items()})
        with relay.running():
            for peer in peers:
                control, bulk = backs[peer]
                processes.start(peer, file, "--bind-control", control, "--bind-bulk", bulk)
            processes.until(lambda: all(certified(processes, peer) >= BEFORE for peer in peers))
            relay.part(*groups)
            yield processes, relay


def certified(processes: Processes, peer: int) -> int:
    """The last step that a peer has certified."""
    return max((entry["step"] for entry in processes.of(peer, "certified")), default=0)


def after(processes: Processes, seconds: float, condition: Callable[[], bool]) -> None:
    """Wait until so long has passed and the condition holds."""
    then = time.monotonic() + seconds
    processes.until(lambda: time.monotonic() >= then and condition())


def outs(processes: Processes, peer: int) -> list[tuple[int, str, str]]:
    return sorted((entry["peer"], entry["rule"], entry["kind"]) for entry in processes.of(peer, "expelled"))


def decisions(book: Book) -> dict[int, Ending]:
    """The records that ended epochs."""
    return {epoch: decision.record for epoch, decision in book.decisions.items()}


def check_ledgers(processes: Processes, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever is out has the same ledger as the others, as far as it was there, and explains itself."""
    books = {peer: open_book(processes.out(peer)) for peer in PEERS}
    exports = [books[peer].ledger.export() for peer in MANY]
    assert len(set(exports)) == 1
    ended = decisions(books[0])
    for peer in FEW:
        seen = decisions(books[peer])
        assert seen == {epoch: record for epoch, record in ended.items() if epoch in seen}
        assert list(seen) == list(range(len(seen)))
        assert peer not in seen[max(seen)].roster
        entries = [(entry.epoch, entry.peer, entry.kind) for entry in books[peer].entries]
        others = [(entry.epoch, entry.peer, entry.kind) for entry in books[0].entries]
        assert entries == [entry for entry in others if entry[0] in seen]
        assert all(entry.proof is not None for entry in books[peer].entries if entry.peer == peer)
        assert main(["why", f"p{peer}", str(processes.out(peer))]) == 0
        assert "removed" in capsys.readouterr().out
    for book in books.values():
        book.ledger.close()


@pytest.mark.shows("AGR-15", "AGR-19", "AGR-20", "OPS-8", "OPS-11", "TRN-12")
def test_the_many_go_on_and_the_few_learn_that_they_are_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with cut(tmp_path, 3, 5000, MANY, FEW) as (processes, relay):
        where = {peer: certified(processes, peer) for peer in PEERS}
        after(
            processes,
            LASTS,
            lambda: (
                all(processes.of(peer, "halted") for peer in FEW)
                and all(certified(processes, peer) > max(where.values()) + 1 for peer in MANY)
            ),
        )
        stayed = {peer: certified(processes, peer) for peer in FEW}
        relay.heal()
        assert processes.until_over(*FEW) == [1] * len(FEW)
        healed = max(certified(processes, peer) for peer in MANY)
        processes.until(lambda: all(certified(processes, peer) > healed for peer in MANY))
        for peer in MANY:
            processes.signal(peer, signal.SIGINT)
        processes.until_over(*MANY)
        for peer in FEW:
            assert certified(processes, peer) == stayed[peer] <= max(where.values()) + 1
            (stopped,) = processes.of(peer, "stopped")
            assert "without this peer: it is removed, not banned" in stopped["reason"]
            model = processes.out(peer) / f"model-step-{stayed[peer]}.safetensors"
            assert processes.errors(peer)[-1].endswith(f"; its model after step {stayed[peer]} is in {model}")
            assert load_model(DigitsTask(SEED, batch_size=8), model)[1] == stayed[peer]
        for peer in MANY:
            assert [gone for gone, _, how in outs(processes, peer) if how == "remove"] == list(FEW)
            assert outs(processes, peer) == outs(processes, 0)
            assert not processes.of(peer, "halted")
        for peer in PEERS:
            assert not processes.of(peer, "drifted")
        check_ledgers(processes, capsys)
    (stopped,) = processes.of(FEW[0], "stopped")
    assert main(["peer", *processes.options(FEW[0], tmp_path / "run.toml"), "--json"]) == 1
    (error,) = capsys.readouterr().err.splitlines()
    assert error == f"btard: {Names([f'p{peer}' for peer in PEERS]).put(stopped['reason'])}"


@pytest.mark.shows("AGR-19", "AGR-23", "AGR-24")
def test_where_the_brake_forbids_it_all_wait_and_go_on_together(tmp_path: Path) -> None:
    """All that are left in, that is: what came as the links broke can let one or two alone be missed."""
    with cut(tmp_path, 2, 6, MANY, FEW) as (processes, relay):
        after(processes, LASTS, lambda: all(processes.of(peer, "halted") for peer in PEERS))
        relay.heal()
        codes = processes.until_over(*PEERS)
        out = {peer for peer, _, _ in outs(processes, MANY[0])}
        assert out <= set(FEW)
        assert len(out) <= 2
        assert codes == [int(peer in out) for peer in PEERS]
        assert [outs(processes, peer) for peer in MANY] == [
            [(peer, "STP-3", "remove") for peer in sorted(out)]
        ] * 5
        digests = {processes.events[peer][-1]["digest"] for peer in PEERS if peer not in out}
        assert len(digests) == 1


@pytest.mark.shows("AGR-19", "AGR-26", "OPS-11")
def test_operators_give_up_a_machine_that_an_outage_took(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All links break and one machine is lost; the others halt, and go on as their operators say."""
    left = range(3)
    with cut(tmp_path, 1, 5, [0], [1], [2], [3]) as (processes, relay):
        processes.signal(3, signal.SIGKILL)
        processes.until(lambda: all(processes.of(peer, "halted") for peer in left))
        relay.heal()
        for peer in left:
            processes.until(lambda peer=peer: read_status(processes.out(peer)).values["halted"] is not None)
            assert main(["resume", "--out", str(processes.out(peer)), "--without", "p3"]) == 0
        assert processes.until_over(*left) == [0] * len(left)
        summaries = [processes.events[peer][-1] for peer in left]
        assert len({summary["digest"] for summary in summaries}) == 1
        assert [processes.of(peer, "roster")[-1]["roster"] for peer in left] == [[0, 1, 2]] * len(left)
        capsys.readouterr()
        assert main(["why", "p3", str(processes.out(0))]) == 0
        assert "gave it up" in capsys.readouterr().out
