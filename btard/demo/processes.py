"""The operating-system processes of one run: none outlives it, however it ends.

Signals are not turned into exceptions wherever they happen to strike, which could lose a process that is just
being started; they are noted, and raised at safe places (`Signals.check`).
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import IO, Final, Protocol, Self

from attrs import define, field

GRACE_SECONDS: Final = 2.0  # for a process to end after each of the first two signals
MAX_LINE: Final = 1 << 22  # a longer line without end is nothing that a peer says
_CHUNK: Final = 1 << 16
_HANDLED: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@define(eq=False)
class Signals:
    """The signals that ask this program to end, from the moment that this is entered to that it is left."""

    wake: int = -1  # a file descriptor that becomes readable with a signal
    _writer: int = -1
    _caught: int | None = None
    _before: list[tuple[signal.Signals, object]] = field(factory=list)
    _wakeup_before: int = -1

    def __enter__(self) -> Self:
        self.wake, self._writer = os.pipe()
        os.set_blocking(self.wake, False)
        os.set_blocking(self._writer, False)
        self._wakeup_before = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        # what is ignored stays so: nohup means it
        handled = [number for number in _HANDLED if signal.getsignal(number) is not signal.SIG_IGN]
        self._before = [(number, signal.signal(number, self._catch)) for number in handled]
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for number, before in self._before:
            signal.signal(number, before)  # type: ignore[arg-type]  # what signal.signal has returned
        signal.set_wakeup_fd(self._wakeup_before)
        os.close(self.wake)
        os.close(self._writer)
        if kind is None:
            self.check()

    def _catch(self, number: int, _: FrameType | None) -> None:
        self._caught = self._caught or number

    def check(self) -> None:
        """Raise KeyboardInterrupt or SystemExit where a signal has come."""
        if self._caught == signal.SIGINT:
            raise KeyboardInterrupt
        if self._caught is not None:
            raise SystemExit(128 + self._caught)


class Child(Protocol):
    """A process that was started, as `subprocess.Popen` shows it; the leader of its own session."""

    pid: int

    @property
    def stdout(self) -> IO[bytes] | None:
        """What it writes."""

    def poll(self) -> int | None:
        """Return its exit status, None while it runs."""

    def wait(self, timeout: float | None = None) -> int:
        """Return its exit status when it has ended; raise subprocess.TimeoutExpired."""


Spawn = Callable[[Sequence[str], IO[bytes], Mapping[str, str]], Child]
"""Starts a command line, with a file for its standard error and an environment. Raises OSError."""


def spawn(command: Sequence[str], errors: IO[bytes], environment: Mapping[str, str]) -> Child:
    """Start a command line as a new program."""
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=errors,
        env=dict(environment),
        start_new_session=True,  # Ctrl-C at a terminal reaches this program alone
    )


@define(eq=False)
class _Process:
    child: Child
    stdout: IO[bytes]
    partial: bytearray = field(factory=bytearray)
    told: bool = False  # whether its end has been


@define(eq=False)
class Fleet:
    """Starts processes, hands out their output line by line, and ends all that are left when it is left."""

    environment: Mapping[str, str]
    spawn: Spawn = spawn
    _processes: dict[int, _Process] = field(factory=dict)
    _selector: selectors.BaseSelector = field(factory=selectors.DefaultSelector)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        self.stop()

    def wake_on(self, descriptor: int) -> None:
        """Let `read` return at once when ``descriptor`` becomes readable."""
        self._selector.register(descriptor, selectors.EVENT_READ, None)

    def start(self, index: int, command: Sequence[str], log: Path) -> None:
        """Start process ``index``; its standard error goes to ``log``. Raises OSError."""
        with log.open("ab") as errors:
            child = self.spawn(command, errors, self.environment)
        assert child.stdout is not None
        self._processes[index] = _Process(child, child.stdout)
        os.set_blocking(child.stdout.fileno(), False)
        self._selector.register(child.stdout, selectors.EVENT_READ, index)

    def read(self, seconds: float) -> Iterator[tuple[int, bytes]]:
        """Yield (process, line) for what has come, waiting for at most so many seconds."""
        for key, _ in self._selector.select(seconds):
            if key.data is None:
                with contextlib.suppress(BlockingIOError):
                    os.read(key.fd, _CHUNK)
            else:
                yield from ((key.data, line) for line in self._lines(key.data))

    def _lines(self, index: int) -> list[bytes]:
        process = self._processes[index]
        try:
            data = os.read(process.stdout.fileno(), _CHUNK)
        except BlockingIOError:
            return []
        if not data:
            self._selector.unregister(process.stdout)
            process.stdout.close()
        process.partial += data
        *lines, rest = bytes(process.partial).split(b"\n")
        if not data or len(rest) > MAX_LINE:
            lines, rest = [*lines, rest], b""
        process.partial[:] = rest
        return [line for line in lines if line.strip()]

    def ended(self) -> Iterator[tuple[int, int]]:
        """Yield (process, exit status), once, for each that has ended and whose output has been read."""
        for index, process in self._processes.items():
            if not process.told and process.stdout.closed and (status := process.child.poll()) is not None:
                process.told = True
                yield index, status

    def stop(self) -> None:
        """End all processes that are left: ask twice, then kill."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            left = [process.child for process in self._processes.values() if process.child.poll() is None]
            for child in left:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, number)
            _await_end(left, None if number == signal.SIGKILL else time.monotonic() + GRACE_SECONDS)
        for process in self._processes.values():
            process.stdout.close()
        self._selector.close()


def _await_end(left: Sequence[Child], deadline: float | None) -> None:
    for child in left:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(None if deadline is None else max(0.0, deadline - time.monotonic()))
