"""What a peer reports: JSON lines to a log file, and either those or lines for a person to the terminal."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import Any, Final, TextIO

import structlog

from btard.disk import refused
from btard.errors import BtardError
from btard.node.words import Names, Narrator

_COLOURS: Final = {"warning": "\x1b[33m", "error": "\x1b[31m", "critical": "\x1b[31m"}
_DIM: Final = "\x1b[2m"
_RESET: Final = "\x1b[0m"
_MAX_LINE: Final = 1 << 20  # bytes; no event is nearly as long


class EventLog:
    """Writes each event once, as one JSON object with ``event``, ``t`` (seconds) and its fields.

    Without a ``narrator`` the same lines go to standard output; with one, what it makes of them to `logger`.
    What it remembers is that of all processes of one run that wrote to the file, not only of this one.
    """

    def __init__(self, path: Path, narrator: Narrator | None, verbose: bool = False, run: str = "") -> None:
        """Append to the file; ``run`` is the id that the run's "listening" events name.

        Raises BtardError where that cannot be.
        """
        self._start = time.monotonic()
        self._path = path
        self.expelled: list[dict[str, Any]] = []
        self.accuracies: list[tuple[int, float]] = []
        self.losses: list[tuple[int, float]] = []
        try:
            for entry in _earlier(path, run) if path.is_file() else ():
                self._remember(entry.pop("event"), entry)
            self._file = path.open("ab", buffering=0)
        except OSError as error:
            raise BtardError(refused(f"cannot write {path}", error)) from error
        self._stdout: TextIO | None = sys.stdout if narrator is None else None
        self._narrator = narrator
        self._verbose = verbose
        self._logger = structlog.get_logger("btard")
        if path.is_file() and _is_cut_off(path):
            self._write("\n")

    def __call__(self, event: str, **fields: Any) -> None:
        """Report one event. Raises BtardError where the file cannot be written."""
        t = round(time.monotonic() - self._start, 3)
        line = json.dumps({"event": event, "t": t, **fields})
        self._write(line + "\n")
        if self._stdout is not None:
            # In one piece: a backend warns from its own thread.
            self._stdout.write(line + "\n")
            self._stdout.flush()
        if self._narrator is not None:
            told = self._narrator.tell(event, t, fields)
            if told is not None and (self._verbose or told.level != "detail"):
                self._logger.log(_LEVELS[told.level], told.text)
        self._remember(event, fields)

    def _write(self, text: str) -> None:
        try:
            self._file.write(text.encode())
        except OSError as error:
            raise BtardError(refused(f"cannot write {self._path}", error)) from error

    def _remember(self, event: str, fields: MutableMapping[str, Any]) -> None:
        if event == "expelled":
            # What a crash kept out of the journal happens again.
            self.expelled[:] = [out for out in self.expelled if _who(out) != _who(fields)]
            self.expelled.append(dict(fields))
        if event == "progress":
            for name, values in (("loss", self.losses), ("accuracy", self.accuracies)):
                if name in fields:
                    # A step may be done again after a crash.
                    while values and values[-1][0] >= fields["step"]:
                        values.pop()
                    values.append((fields["step"], fields[name]))

    def figures(self) -> dict[str, Any]:
        """Return the last loss and accuracy, as (step, value), and who is out."""
        last = {"loss": self.losses[-1:], "accuracy": self.accuracies[-1:]}
        return {name: values[0] if values else None for name, values in last.items()} | {
            "expelled": self.expelled
        }

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _who(out: Mapping[str, Any]) -> tuple[Any, Any]:
    return out.get("peer"), out.get("kind")


def _earlier(path: Path, run: str) -> Iterator[dict[str, Any]]:
    """What earlier processes of this run wrote and a summary needs; a crash may have left half a line."""
    ours = False
    with path.open("rb") as file:
        while line := file.readline(_MAX_LINE):
            try:
                entry = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if not isinstance(entry, dict):
                continue
            if entry.get("event") == "listening":
                ours = entry.get("run") == run
            step = entry.get("step")
            if ours and entry.get("event") in ("expelled", "progress") and isinstance(step, int):
                yield entry


def _is_cut_off(path: Path) -> bool:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 1))
        return size > 0 and file.read() != b"\n"


_LEVELS: Final = {
    "detail": logging.INFO,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


def readable_logger(me: str, names: Names) -> None:
    """Let all modules log lines for a person on standard error: the time, this peer's name, what happened."""
    colours = sys.stderr.isatty()

    def render(_: Any, __: str, entry: MutableMapping[str, Any]) -> str:
        stamp, level, text = entry.pop("timestamp"), entry.pop("level"), entry.pop("event")
        entry.pop("me", None)
        notes = [
            f"{key} {names.of(value) if key == 'peer' else value}"
            for key, value in entry.items()
            if value is not None
        ]
        text = f"{text} ({', '.join(notes)})" if notes else str(text)
        if not colours:
            return f"{stamp} {me}: {text}"
        return f"{_DIM}{stamp} {me}:{_RESET} {_COLOURS.get(level, '')}{text}{_RESET}"

    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def json_logger() -> None:
    """Let all modules log JSON lines on standard error, warnings and worse."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
