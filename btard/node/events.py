"""What a peer reports: JSON lines to a log file and, if wanted, to standard output; else readable lines."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any, TextIO

import structlog

from btard.errors import BtardError

_QUIET = frozenset({"phase", "certified", "progress", "link"})
"""Events of every step: in the log file and in JSON, not among the lines that a person reads."""

_LONG = frozenset({"losses", "accuracies", "expelled"})
"""Fields of the summary that a person has read before, event by event."""


class EventLog:
    """Writes each event once, as one JSON object with ``event``, ``t`` (seconds) and its fields."""

    def __init__(self, path: Path, as_json: bool) -> None:
        """Append to the file. Raises OSError where that cannot be."""
        self._start = time.monotonic()
        self._path = path
        self._file = path.open("ab", buffering=0)
        self._stdout: TextIO | None = sys.stdout if as_json else None
        self._reader: Any = None if as_json else readable_logger()
        self.expelled: list[dict[str, Any]] = []
        self.accuracies: list[tuple[int, float]] = []
        self.losses: list[tuple[int, float]] = []

    def __call__(self, event: str, **fields: Any) -> None:
        """Report one event. Raises BtardError where the file cannot be written."""
        record = {"event": event, "t": round(time.monotonic() - self._start, 3), **fields}
        line = json.dumps(record)
        self._write(line + "\n")
        if self._stdout is not None:
            # In one piece: a backend warns from its own thread.
            self._stdout.write(line + "\n")
            self._stdout.flush()
        elif event not in _QUIET or "accuracy" in fields:
            told = {name: value for name, value in fields.items() if name not in _LONG}
            self._reader.info(event, **told)
        self._remember(event, fields)

    def _write(self, text: str) -> None:
        try:
            self._file.write(text.encode())
        except OSError as error:
            raise BtardError(f"cannot write {self._path}: {error.strerror or error}") from error

    def _remember(self, event: str, fields: MutableMapping[str, Any]) -> None:
        if event == "expelled":
            self.expelled.append(dict(fields))
        if event == "progress" and "loss" in fields:
            self.losses.append((fields["step"], fields["loss"]))
        if event == "progress" and "accuracy" in fields:
            self.accuracies.append((fields["step"], fields["accuracy"]))

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def readable_logger() -> Any:
    """Return structlog's console logger on standard error, as all modules use it from now on."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=10),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    return structlog.get_logger("btard")


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
