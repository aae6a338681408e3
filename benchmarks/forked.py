"""Peers as processes that are forked from one which has loaded torch already: seconds less for each.

They run what `btard peer` runs, over real sockets. The process they come from has computed nothing, has no
threads and no sockets.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from typing import IO

from btard.demo.processes import Child

_START = ("-m", "btard.cli.main")
_CONTEXT = multiprocessing.get_context("forkserver")


def load() -> None:
    """Start the process from which peers are forked; they compute with one thread."""
    os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    _CONTEXT.set_forkserver_preload(["benchmarks.loaded", "btard.demo.show"])


class _Forked:
    """One of them, as `subprocess.Popen` shows a process."""

    def __init__(self, arguments: Sequence[str], errors: IO[bytes], environment: Mapping[str, str]) -> None:
        reader, writer = _CONTEXT.Pipe(duplex=False)
        log = os.fsdecode(errors.name)
        self._process = _CONTEXT.Process(target=_run, args=(list(arguments), dict(environment), writer, log))
        self._process.start()
        writer.close()
        self.stdout: IO[bytes] = open(os.dup(reader.fileno()), "rb", buffering=0)  # noqa: SIM115
        reader.close()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    def poll(self) -> int | None:
        """Return its exit status, None while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Return its exit status when it has ended; raise subprocess.TimeoutExpired."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(_START, timeout or 0.0)
        return self._process.exitcode


def fork(command: Sequence[str], errors: IO[bytes], environment: Mapping[str, str]) -> Child:
    """Start `python -m btard.cli.main ...` without a new interpreter. Raises OSError."""
    if tuple(command[1:3]) != _START:
        raise ValueError(f"only {' '.join(_START)} can be forked, not {' '.join(command)}")
    return _Forked(command[3:], errors, environment)


def _run(arguments: list[str], environment: dict[str, str], output: Connection, log: str) -> None:
    os.setsid()
    os.environ.clear()
    os.environ.update(environment)
    os.dup2(output.fileno(), 1)
    output.close()
    errors = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(errors, 2)
    os.close(errors)
    from btard.cli.main import main

    raise SystemExit(main(arguments))
