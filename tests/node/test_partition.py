"""Five of eight real peers are cut off from the other three for half a minute; then the cut heals."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from attrs import evolve

from btard_transports.ports import free_endpoints
from tests.node.folder import digits_run, write
from tests.node.processes import Processes
from tests.node.relay import Relay

PEERS = range(8)
MANY, FEW = range(5), range(5, 8)
LASTS = 30.0  # seconds
BEFORE = 2  # steps certified before the cut


@contextlib.contextmanager
def cut(folder: Path, late_brake: int, steps: int) -> Iterator[tuple[Processes, Relay]]:
    """Start a run of eight, and part it when the first steps are done."""
    with (
        free_endpoints(len(PEERS)) as fronts,
        free_endpoints(len(PEERS)) as backs,
        Processes(folder) as processes,
    ):
        run = digits_run(fronts, steps)
        file = write(folder, evolve(run, parameters=evolve(run.parameters, late_brake=late_brake)))
        relay = Relay(fronts, backs, lambda: {peer: popen.pid for peer, popen in processes.popens.items()})
        with relay.running():
            for peer in PEERS:
                control, bulk = backs[peer]
                processes.start(peer, file, "--bind-control", control, "--bind-bulk", bulk)
            processes.until(lambda: all(certified(processes, peer) >= BEFORE for peer in PEERS))
            relay.part(MANY, FEW)
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


@pytest.mark.shows("AGR-15", "AGR-19", "AGR-20")
def test_the_many_go_on_and_the_few_learn_that_they_are_out(tmp_path: Path) -> None:
    with cut(tmp_path, late_brake=3, steps=5000) as (processes, relay):
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
        for peer in MANY:
            assert [gone for gone, _, how in outs(processes, peer) if how == "remove"] == list(FEW)
            assert outs(processes, peer) == outs(processes, 0)
            assert not processes.of(peer, "halted")
        for peer in PEERS:
            assert not processes.of(peer, "drifted")


@pytest.mark.shows("AGR-19", "AGR-23", "AGR-24")
def test_where_the_brake_forbids_it_all_wait_and_go_on_together(tmp_path: Path) -> None:
    with cut(tmp_path, late_brake=2, steps=6) as (processes, relay):
        after(processes, LASTS, lambda: all(processes.of(peer, "halted") for peer in PEERS))
        relay.heal()
        assert processes.until_over(*PEERS) == [0] * len(PEERS)
        summaries = [processes.events[peer][-1] for peer in PEERS]
        assert len({summary["digest"] for summary in summaries}) == 1
        assert [summary["expelled"] for summary in summaries] == [[]] * len(PEERS)
