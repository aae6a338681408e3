"""Peers as operating-system processes: what they print is read as it comes, and none outlives the test."""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import define, field

from btard.genesis import RunFile

PATIENCE = 240.0  # seconds; far above what anything here takes, so that only a hang reaches it
ROOT = Path(__file__).parents[2]


def _environment(*first: Path) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("BTARD_")}
    path = os.pathsep.join(map(str, [*first, ROOT, ROOT / "transports"]))
    return {**own, "OMP_WAIT_POLICY": "PASSIVE", "PYTHONPATH": path}


@define(eq=False)
class Processes:
    """`btard peer` processes, by peer index. A context manager."""

    folder: Path
    events: dict[int, list[dict[str, Any]]] = field(factory=lambda: defaultdict(list))
    popens: dict[int, subprocess.Popen[bytes]] = field(factory=dict)
    _partial: dict[int, bytes] = field(factory=lambda: defaultdict(bytes))
    _selector: selectors.BaseSelector = field(factory=selectors.DefaultSelector)

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_: object) -> None:
        for index, popen in self.popens.items():
            if popen.poll() is None:
                self.signal(index, signal.SIGKILL)
                popen.wait()
            assert popen.stdout is not None
            popen.stdout.close()
        self._selector.close()

    def start(
        self,
        index: int,
        run_file: Path,
        *more: str,
        modules: Sequence[Path] = (),
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """Start peer `index` of the folder, with --json; it finds modules in `modules` first.

        `settings` are variables of its environment.
        """
        self.start_by_hand(index, run_file, "--json", *more, modules=modules, settings=settings)

    def start_by_hand(
        self,
        index: int,
        run_file: Path,
        *more: str,
        modules: Sequence[Path] = (),
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """Start peer `index` of the folder as a person does: what it says goes to standard error."""
        command = [sys.executable, "-m", "btard.cli.main", "peer", *self.options(index, run_file)]
        with (self.folder / f"p{index}.log").open("wb") as errors:
            popen = subprocess.Popen(
                [*command, *more],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**_environment(*modules), **(settings or {})},
                start_new_session=True,  # so that what it leaves behind can be told
            )
        assert popen.stdout is not None
        if (before := self.popens.get(index)) is not None and before.stdout is not None:
            before.stdout.close()  # read to its end: the process is over
        os.set_blocking(popen.stdout.fileno(), False)
        self._selector.register(popen.stdout, selectors.EVENT_READ, index)
        self.popens[index] = popen

    def options(self, index: int, run_file: Path) -> list[str]:
        key = self.folder / f"p{index}.key"
        return ["--run", str(run_file), "--key", str(key), "--out", str(self.out(index))]

    def out(self, index: int) -> Path:
        return self.folder / f"p{index}"

    def errors(self, index: int) -> list[str]:
        """The lines that the process has written to standard error."""
        return (self.folder / f"p{index}.log").read_text().splitlines()

    def of(self, index: int, event: str) -> list[dict[str, Any]]:
        return [entry for entry in self.events[index] if entry["event"] == event]

    def until(self, condition: Callable[[], bool]) -> None:
        """Read what the processes print until `condition()` holds; fail if it never does."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, {index: self.errors(index) for index in self.popens}
            for key, _ in self._selector.select(0.2):
                self._read(key.data)

    def _read(self, index: int) -> None:
        stream = self.popens[index].stdout
        assert stream is not None
        data = os.read(stream.fileno(), 1 << 16)
        if not data:
            self._selector.unregister(stream)
        *lines, self._partial[index] = (self._partial[index] + data).split(b"\n")
        self.events[index] += map(json.loads, lines)

    def until_over(self, *peers: int) -> list[int]:
        """Wait for the end of these processes; return their exit statuses."""
        streams = [self.popens[peer].stdout for peer in peers]
        self.until(lambda: not any(stream in self._selector.get_map() for stream in streams))
        return [self.popens[peer].wait(PATIENCE) for peer in peers]

    def signal(self, index: int, number: int) -> None:
        self.popens[index].send_signal(number)

    def left_behind(self, index: int) -> bool:
        """Whether anything of the process's group still runs."""
        try:
            os.killpg(self.popens[index].pid, 0)
        except ProcessLookupError:
            return False
        return True


def listening(run: RunFile) -> list[str]:
    """The addresses of a run on which somebody listens."""
    found = []
    for address in [address for peer in run.peers for address in (peer.control, peer.bulk)]:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", int(address.rpartition(":")[2]))) == 0:
                found.append(address)
    return found
