"""The run file: a genesis as one TOML file that people can read (spec GEN-1).

`load` takes nothing on trust and reports everything that it finds wrong at once; `dump` writes each value
with a comment that says what it does. Comments and white space do not change the run id.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, TypeVar, get_type_hints

from btard.errors import BtardError
from btard.genesis import OptionValue, PeerEntry, RunFile, TaskSection
from btard.genesis_problems import peer_place, shown, value_problems
from btard.runfile_text import FORMAT, dump, dump_peer
from btard.statemachine.parameters import Parameters, Timing
from btard.wire import MAX_PEERS

__all__ = ["PeerEntry", "RunFile", "RunFileError", "TaskSection", "dump", "dump_peer", "load", "loads"]

MAX_BYTES: Final = 1 << 20
MAX_LINE: Final = 1000
MAX_DOTS: Final = 1 << 16

_HEX: Final = re.compile(r"(?:[0-9A-Fa-f]{2})+")
_V = TypeVar("_V")
_N = TypeVar("_N", Parameters, Timing)

_KINDS: Final[Mapping[type, str]] = {
    str: "text in quotes",
    int: "an integer",
    float: "a number",
    bytes: "hexadecimal digits in quotes",
    dict: "a table",
    list: "an array of tables",
}


class RunFileError(BtardError):
    """A run file that cannot be used; ``problems`` holds one line for each thing that is wrong."""

    def __init__(self, path: Path, problems: Iterable[str]) -> None:
        self.path = path
        self.problems = tuple(problems)
        super().__init__("\n".join(f"{path}: {problem}" for problem in self.problems))


def load(path: Path) -> RunFile:
    """Return the genesis that a run file holds; raise RunFileError with all its problems (spec GEN-1)."""
    return _genesis(path, parse(path))


def loads(data: bytes, source: Path) -> RunFile:
    """Return the genesis that a run file's bytes hold; raise RunFileError, naming their source (spec GEN-1)."""
    return _genesis(source, _parsed(source, data))


def _genesis(path: Path, values: Mapping[str, object]) -> RunFile:
    problems: list[str] = []
    run = _read_run(Table("", values, problems))
    if problems or run is None:
        raise RunFileError(path, problems)
    return run


def parse(path: Path) -> Mapping[str, object]:
    """Return a file's TOML; its size and form bound the time and memory that this takes."""
    with path.open("rb") as file:
        return _parsed(path, file.read(MAX_BYTES + 1))


def _parsed(path: Path, data: bytes) -> Mapping[str, object]:
    if len(data) > MAX_BYTES:
        raise RunFileError(path, [f"is larger than {MAX_BYTES} bytes, so it is no run file"])
    try:
        text = data.decode("utf-8")
        longest = max(map(len, text.splitlines()), default=0)
        # tomllib's memory grows with the square of the number of dotted keys on a line
        if longest > MAX_LINE or text.count(".") > MAX_DOTS:
            raise RunFileError(path, [f"has a line of more than {MAX_LINE} characters, or too many dots"])
        return tomllib.loads(text)
    except RecursionError:
        raise RunFileError(path, ["is nested too deeply, so it is no run file"]) from None
    except ValueError as error:
        raise RunFileError(path, [f"is no TOML file: {_one_line(error)}"]) from None


def _one_line(error: Exception) -> str:
    """Return an error's text as one short line of printable characters."""
    return str(error).encode("unicode_escape").decode()[:200]


class Table:
    """Reads one TOML table key by key, and notes every problem with its place."""

    def __init__(self, place: str, values: Mapping[str, object], problems: list[str]) -> None:
        self.place = place
        self.problems = problems
        self._values = dict(values)
        self._taken: list[str] = []

    def note(self, line: str) -> None:
        """Note one problem."""
        self.problems.append(f"{self.place} {line}".lstrip())

    def take(self, key: str, kind: type[_V]) -> _V | None:
        """Return the value of ``key``, or None, and a note, where it is missing or is not of ``kind``."""
        self._taken.append(key)
        if key not in self._values:
            self.note(f"{key} is missing: add it, {_KINDS[kind]}")
            return None
        value = self._values.pop(key)
        converted = _convert(value, kind)
        if converted is None:
            self.note(f"{key} = {shown(value)}: must be {_KINDS[kind]}")
        return converted

    def table(self, key: str) -> Table | None:
        """Return the table under ``key``, or None, and a note."""
        values = self.take(key, dict)
        place = f"[{self.place.strip('[]')}.{key}]" if self.place else f"[{key}]"
        return None if values is None else Table(place, values, self.problems)

    def rest(self) -> dict[str, object]:
        """Return what was not taken, which is then taken."""
        rest, self._values = self._values, {}
        return rest

    def close(self) -> None:
        """Note every key that nobody took (spec GEN-1)."""
        for key in self.rest():
            near = get_close_matches(key[:64], self._taken, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            self.note(f"{shown(key)} is unknown: remove it or correct its name{hint}")


def _convert(value: object, kind: type[_V]) -> _V | None:
    """Return ``value`` as a ``kind``, or None; an integer passes for a number, hex digits for bytes."""
    if isinstance(value, bool):
        return None
    if kind is bytes and isinstance(value, str):
        value = bytes.fromhex(value) if _HEX.fullmatch(value) else None
    if kind is float and isinstance(value, int) and abs(value) <= 2**53:
        value = float(value)
    return value if isinstance(value, kind) else None


def _read_run(top: Table) -> RunFile | None:
    """Return the genesis if it could be read in full, else None; every problem is noted."""
    if top.take("format", int) not in (None, FORMAT):
        top.problems[:] = [f"format: this btard reads format {FORMAT}; get the btard that the run is for"]
        return None
    name, seed = top.take("name", str), top.take("seed", bytes)
    evaluate_every = top.take("evaluate_every", int)
    numerics, bulk_security = top.take("numerics", str), top.take("bulk_security", str)
    task = _read_task(top.table("task"))
    parameters = _read_numbers(top.table("parameters"), Parameters)
    timing = _read_numbers(top.table("timing"), Timing)
    peers = read_peers(top)
    top.close()
    plain = {"name": name, "seed": seed, "evaluate_every": evaluate_every}
    plain |= {"numerics": numerics, "bulk_security": bulk_security}
    readable = {key: value for key, value in plain.items() if value is not None}
    top.problems.extend(value_problems(readable, task, parameters, timing, peers))
    if name is None or seed is None or evaluate_every is None or numerics is None or bulk_security is None:
        return None
    if task is None or parameters is None or timing is None or peers is None:
        return None
    roster = tuple(filter(None, peers))
    return RunFile(name, seed, task, parameters, timing, evaluate_every, numerics, bulk_security, roster)


def _read_numbers(table: Table | None, cls: type[_N]) -> _N | None:
    """Return a class of numbers alone from the table that has a key for each of its fields."""
    if table is None:
        return None
    values: dict[str, Any] = {name: table.take(name, kind) for name, kind in get_type_hints(cls).items()}
    table.close()
    return None if None in values.values() else cls(**values)


def _read_task(table: Table | None) -> TaskSection | None:
    if table is None:
        return None
    name = table.take("name", str)
    model_digest, data_digest = table.take("model_digest", bytes), table.take("data_digest", bytes)
    options = _read_options(table.table("options"))
    table.close()
    if name is None or model_digest is None or data_digest is None or options is None:
        return None
    return TaskSection(name=name, options=options, model_digest=model_digest, data_digest=data_digest)


def _read_options(table: Table | None) -> dict[str, OptionValue] | None:
    """Return the task's options: names are its business, but values are single ones."""
    if table is None:
        return None
    options: dict[str, OptionValue] = {}
    for key, value in table.rest().items():
        if isinstance(value, bool | int | float | str):
            options[key] = value
        else:
            name = key if re.fullmatch(r"\w{1,64}", key, re.ASCII) else shown(key)
            table.note(f"{name} = {shown(value)}: must be a number, text, true or false")
    return options


def read_peers(top: Table) -> list[PeerEntry | None] | None:
    """Return the roster, with None for each peer that could not be read."""
    entries = top.take("peers", list)
    if entries is None:
        return None
    if len(entries) > MAX_PEERS:
        top.note(f"[[peers]] {len(entries)} peers: at most {MAX_PEERS} are allowed")
        return None
    return [_read_peer(number, entry, top.problems) for number, entry in enumerate(entries, 1)]


def _read_peer(number: int, entry: object, problems: list[str]) -> PeerEntry | None:
    if not isinstance(entry, dict):
        problems.append(f"[[peers]] number {number} = {shown(entry)}: must be a table")
        return None
    table = Table(peer_place(number, entry.get("name", "no name")), entry, problems)
    values: dict[str, Any] = {name: table.take(name, kind) for name, kind in get_type_hints(PeerEntry).items()}
    table.close()
    return None if None in values.values() else PeerEntry(**values)
