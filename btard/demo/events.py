"""What `btard peer --json` says: one JSON object a line, each with an "event"."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Final, Literal

from attrs import field, frozen

Kind = Literal["ban", "remove"]

_LARGEST: Final = 1e308  # an integer may be too large for a float

# Events that show no progress; a run in which there is nothing else stands still.
IDLE: Final = frozenset({"link", "garbage", "rejected", "again", "awaiting"})


class EventError(ValueError):
    """A JSON object that is no event of a peer; the message says why."""


@frozen
class Event:
    """One thing that a peer reports."""

    name: str
    values: Mapping[str, Any]

    def integer(self, key: str) -> int:
        """Return an integer field; raise EventError if it is none."""
        return _integer(self.values, key)

    def number(self, key: str) -> float | None:
        """Return a number, NaN where it is not finite (JSON null), or None where there is none."""
        return _number(self.values[key]) if key in self.values else None

    def text(self, key: str) -> str:
        """Return a text field; raise EventError if it is none."""
        return _text(self.values, key)

    def integers(self, key: str) -> tuple[int, ...]:
        """Return a list of integers; raise EventError if it is none."""
        values = _list(self.values, key)
        if not all(isinstance(value, int) for value in values):
            raise EventError(f"{key} is no list of integers")
        return tuple(values)


@frozen
class Expulsion:
    """A peer lost its place: in which step, by which rule of the specification, and why."""

    peer: int
    step: int
    rule: str
    kind: Kind
    reason: str = field(eq=False)  # words may name what only the reporting peer knows
    applied: int = 0  # the step whose applied update holds what it was banned for, if there is one

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Expulsion:
        """Return what an `expelled` event or its summary says; raise EventError."""
        kind = values.get("kind")
        if kind != "ban" and kind != "remove":
            raise EventError("kind is neither ban nor remove")
        return cls(
            _integer(values, "peer"),
            _integer(values, "step"),
            _text(values, "rule"),
            "ban" if kind == "ban" else "remove",
            _text(values, "reason"),
            _integer(values, "applied"),
        )

    @property
    def verb(self) -> str:
        """banned or removed."""
        return "banned" if self.kind == "ban" else "removed"


@frozen
class Summary:
    """A peer's last line: how its run ended, from its own point of view."""

    digest: str | None  # of its state, if it finished
    steps: int  # the last that it applied
    closing_steps: int  # that followed
    failure: str | None
    bulk_bytes: int  # sent in all
    control_bytes: int
    expelled: tuple[Expulsion, ...]
    accuracies: tuple[tuple[int, float], ...]  # (step, accuracy)

    @classmethod
    def read(cls, event: Event) -> Summary:
        """Return what a `summary` event says; raise EventError."""
        values = event.values
        sent = _table(values.get("bytes"))
        return cls(
            digest=_text_or_null(values, "digest"),
            steps=_integer(values, "steps"),
            closing_steps=_integer(values, "closing_steps"),
            failure=_text_or_null(values, "failure"),
            bulk_bytes=_integer(sent, "bulk"),
            control_bytes=_integer(sent, "control"),
            expelled=tuple(Expulsion.read(_table(entry)) for entry in _list(values, "expelled")),
            accuracies=tuple(map(_point, _list(values, "accuracies"))),
        )


def parse_line(line: bytes) -> Event | None:
    """Return the event in a line of a peer's output, or None if the line is something else.

    Something else is what a user's own attack prints, for one.
    """
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return None
    name = values.get("event") if isinstance(values, dict) else None
    return Event(name, values) if isinstance(name, str) else None


def _integer(values: Mapping[str, Any], key: str) -> int:
    value = values.get(key)
    if not isinstance(value, int) or isinstance(value, bool):
        raise EventError(f"{key} is no integer")
    return value


def _number(value: object) -> float:
    if value is None:
        return math.nan
    if not isinstance(value, int | float) or abs(value) > _LARGEST:
        raise EventError(f"{str(value)[:40]} is no number")
    return float(value)


def _text(values: Mapping[str, Any], key: str) -> str:
    value = values.get(key)
    if not isinstance(value, str):
        raise EventError(f"{key} is no text")
    return value


def _text_or_null(values: Mapping[str, Any], key: str) -> str | None:
    return None if values.get(key) is None else _text(values, key)


def _list(values: Mapping[str, Any], key: str) -> list[Any]:
    value = values.get(key)
    if not isinstance(value, list):
        raise EventError(f"{key} is no list")
    return value


def _table(value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise EventError(f"{str(value)[:40]} is no object")
    return value


def _point(value: object) -> tuple[int, float]:
    if not (isinstance(value, list) and len(value) == 2 and isinstance(value[0], int)):
        raise EventError(f"{str(value)[:40]} is no step with a number")
    return value[0], _number(value[1])
