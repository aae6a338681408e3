"""However a demonstration ends, none of its processes is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from btard.errors import BtardError
from tests.demo.stage import HONEST, PLAN, stage

ROOT = Path(__file__).parents[2]
STILL = {"stall_at": {str(peer): 4 for peer in range(PLAN.peers)}}


def wait_until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def pids(out: Path) -> list[int]:
    return [int(text) for path in out.glob("btard/peer-*/pid") if (text := path.read_text())]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def in_a_process_of_its_own(out: Path, play: dict[str, Any]) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    program = [sys.executable, "-m", "tests.demo.stage", str(out), json.dumps(play)]
    return subprocess.Popen(
        program, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_leaves_no_process(tmp_path: Path, number: signal.Signals, status: int) -> None:
    out = tmp_path / "out"
    with in_a_process_of_its_own(out, STILL) as program:
        wait_until(lambda: len(pids(out)) == PLAN.peers)
        assert all(map(alive, pids(out)))
        program.send_signal(number)
        program.communicate(timeout=60)
    assert program.returncode == status
    assert not any(map(alive, pids(out)))


def test_impatience_and_deaf_processes_change_nothing(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with in_a_process_of_its_own(out, STILL | {"deaf": True}) as program:
        wait_until(lambda: len(pids(out)) == PLAN.peers)
        for _ in range(10):
            program.send_signal(signal.SIGINT)
        program.communicate(timeout=60)
    assert not any(map(alive, pids(out)))


@pytest.mark.parametrize("play", [STILL, STILL | {"die_at": {str(HONEST[0]): 2}}])
def test_a_failure_leaves_no_process(tmp_path: Path, play: dict[str, Any]) -> None:
    with pytest.raises(BtardError):
        stage(tmp_path / "out", play, stall_seconds=1.0)
    found = pids(tmp_path / "out")
    assert found
    assert not any(map(alive, found))


def test_signals_are_handled_as_before_afterwards(tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    with pytest.raises(BtardError):
        stage(tmp_path / "out", {"die_at": {str(HONEST[0]): 1}})
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before
