"""Starts the peers of one run, follows what they report, and sees them all end."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from btard.demo.events import IDLE, EventError, parse_line
from btard.demo.processes import Fleet, Signals, Spawn, spawn
from btard.demo.setup import Launch
from btard.demo.state import RunState
from btard.errors import BtardError

Command = Callable[[Launch], Sequence[str]]
"""The command line that starts a peer."""

STALL_SECONDS: Final = 120.0  # without a sign of life from any peer
WAIT_SECONDS: Final = 180  # that peers wait for each other at the start
LINGER_SECONDS: Final = 5.0  # for an attacker to end when all honest peers have
_LOG_LINES: Final = 8
_TURN_SECONDS: Final = 0.1


def peer_command(launch: Launch) -> list[str]:
    """Return the command that runs one real peer."""
    words = [sys.executable, "-m", "btard.cli.main", "peer", "--json", "--wait", str(WAIT_SECONDS)]
    words += ["--run", str(launch.run_file), "--key", str(launch.key), "--out", str(launch.out)]
    return words if launch.attack is None else [*words, "--attack", str(launch.attack)]


def peer_environment() -> Mapping[str, str]:
    """Return the environment for many peers on one machine.

    It holds none of this program's own BTARD_* settings: BTARD_ATTACK would turn honest peers.
    """
    own = {name: value for name, value in os.environ.items() if not name.startswith("BTARD_")}
    return own | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}


def supervise(
    state: RunState,
    launches: Sequence[Launch],
    refresh: Callable[[], None],
    command: Command = peer_command,
    stall_seconds: float = STALL_SECONDS,
    start: Spawn = spawn,
) -> None:
    """Run the peers to their end; ``state`` follows them, and ``refresh`` is called whenever it may be shown.

    Raises BtardError if an honest peer dies or all stand still, KeyboardInterrupt or SystemExit on signals.
    No process is left in any case.
    """
    with Signals() as signals, Fleet(peer_environment(), start) as fleet:
        fleet.wake_on(signals.wake)
        for launch in launches:
            signals.check()
            fleet.start(launch.index, command(launch), launch.log)
        honest_over: float | None = None
        while honest_over is None or state.now < honest_over + LINGER_SECONDS:
            _take_in(state, fleet, launches)
            signals.check()
            refresh()
            _check_alive(state, launches, stall_seconds)
            if all(member.exit_status is not None for member in state.members):
                break
            if honest_over is None and all(member.exit_status is not None for member in state.honest):
                honest_over = state.now


def _take_in(state: RunState, fleet: Fleet, launches: Sequence[Launch]) -> None:
    for index, line in fleet.read(_TURN_SECONDS):
        event = parse_line(line)
        if event is None:
            _note(launches[index], line)
            continue
        if event.name not in IDLE:
            state.moved = state.now
        try:
            state.apply(index, event)
        except EventError as error:
            said = line.decode(errors="replace")[:300]
            raise BtardError(f"peer-{index} reports what cannot be: {error}: {said}") from error
    for index, status in fleet.ended():
        state.moved = state.now
        state.exited(index, status)
    state.now = time.monotonic()


def _note(launch: Launch, line: bytes) -> None:
    with launch.log.open("ab") as log:
        log.write(line + b"\n")


def _check_alive(state: RunState, launches: Sequence[Launch], stall_seconds: float) -> None:
    for member in state.honest:
        if member.exit_status is not None and member.summary is None:
            raise BtardError(f"{member.name} died: {member.failure}{_end_of_log(launches[member.index])}")
    if state.now - state.moved > stall_seconds:
        running = [member for member in state.honest if member.exit_status is None] or state.members
        slowest = min(running, key=lambda member: member.step)
        raise BtardError(
            f"nothing has happened for {stall_seconds:.0f} s; {slowest.name} is the farthest behind, "
            f"in step {slowest.step} {slowest.phase}{_end_of_log(launches[slowest.index])}"
        )


def _end_of_log(launch: Launch) -> str:
    """Return the last lines of a peer's log, to follow a sentence."""
    try:
        lines = launch.log.read_text(errors="replace").splitlines()[-_LOG_LINES:]
    except OSError:
        lines = []
    if not lines:
        return f"; its log {launch.log} is empty"
    return "\n".join([f"; its log {launch.log} ends with:", *(f"  {line[:300]}" for line in lines)])
