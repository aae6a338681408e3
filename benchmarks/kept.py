"""What came of each run, kept in a file of JSON lines, so that a benchmark can be continued."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from attrs import asdict, define, field, frozen

from btard.demo.outcome import LAST_EVALUATIONS, Curve


@frozen
class Record:
    """One run: which it was, its line in the table, and what was not as promised."""

    attack: str
    attackers: int
    seed: int
    row: str
    problems: tuple[str, ...]

    @property
    def key(self) -> tuple[str, int, int]:
        """Which run it was."""
        return self.attack, self.attackers, self.seed


@define
class Kept:
    """The results so far; without a file they are only remembered."""

    path: Path | None
    records: dict[tuple[str, int, int], Record] = field(factory=dict)
    curves: dict[int, Curve] = field(factory=dict)  # accuracies without attack, by seed

    @classmethod
    def read(cls, path: Path) -> Self:
        """Return what a file holds, nothing if it is not there; additions go to it.

        Raises OSError and ValueError.
        """
        kept = cls(path)
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
            kept._take(json.loads(line))
        return kept

    def _take(self, entry: dict[str, Any]) -> None:
        if "accuracies" in entry:
            self.curves[entry["seed"]] = tuple((step, accuracy) for step, accuracy in entry["accuracies"])
        else:
            record = Record(**entry | {"problems": tuple(entry["problems"])})
            self.records[record.key] = record

    def add(self, record: Record) -> None:
        """Keep what came of a run."""
        self.records[record.key] = record
        self._append(asdict(record))

    def add_curve(self, seed: int, curve: Curve) -> None:
        """Keep the accuracies of a run without attack."""
        self.curves[seed] = curve
        self._append({"seed": seed, "accuracies": curve})

    def _append(self, entry: Mapping[str, Any]) -> None:
        if self.path is not None:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")


def accuracy_at(curve: Curve, step: int) -> float | None:
    """Return the mean of the last evaluations up to a step, as many as `Outcome.accuracy` takes."""
    last = [accuracy for at, accuracy in curve if at <= step][-LAST_EVALUATIONS:]
    return sum(last) / len(last) if last else None
