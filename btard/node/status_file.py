"""A peer's status in its folder: a small JSON file, and a lock that says whether the peer still runs.

The file is replaced in one move, so a reader sees one state or the next. The lock is the system's (flock): it
ends with the process however that ends, and a process id that another program got since does not matter.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Final

from attrs import frozen

from btard.disk import refused
from btard.errors import BtardError

FILE: Final = "status.json"
LOCK: Final = "lock"
FORMAT: Final = 1
LOOKS: Final = 50  # of a peer that starts, at the lock, until whoever holds it is another peer
LOOK_SECONDS: Final = 0.01  # between two of them
MAX_BYTES: Final = 1 << 20  # a thousand peers, all of them banned, need a fraction of it


class StatusError(BtardError):
    """There is no status to be had; the message says in a line what to do."""


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a peer's folder (spec OPS-2). Raises StatusError where a process does, or the disk refuses."""
    path = folder / LOCK
    try:
        held = path.open("a+b", buffering=0)
    except OSError as error:
        raise StatusError(refused(f"cannot write {path}", error)) from error
    with held as file:
        if not _hold(file):
            file.seek(0)
            holder = file.read(20).decode(errors="replace").strip() or "unknown"
            raise StatusError(
                f"{folder} is in use by a running peer (process {holder}): stop that one, or choose another "
                "--out for this one"
            )
        try:
            file.truncate(0)
            file.write(str(os.getpid()).encode())
        except OSError as error:
            raise StatusError(refused(f"cannot write {path}", error)) from error
        yield


def _hold(file: IO[bytes]) -> bool:
    """Whether this process holds the lock from now on; who only looks holds it for a moment (`is_held`)."""
    for _ in range(LOOKS):
        if _lock(file, fcntl.LOCK_EX):
            return True
        time.sleep(LOOK_SECONDS)
    return _lock(file, fcntl.LOCK_EX)


def is_held(folder: Path) -> bool:
    """Whether a process holds the folder now."""
    try:
        with (folder / LOCK).open("rb") as file:
            return not _lock(file, fcntl.LOCK_SH)
    except FileNotFoundError:
        return False


def _lock(file: IO[bytes], kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def write_status(folder: Path, values: Mapping[str, Any]) -> None:
    """Replace the status, with a stamp for people (spec OPS-3). Raises BtardError where the disk refuses."""
    path, text = folder / FILE, json.dumps({"format": FORMAT, "written": time.time(), **values})
    draft = path.with_suffix(".new")
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        raise BtardError(refused(f"cannot write {path}", error)) from error


@frozen
class Status:
    """What a peer's folder tells of it."""

    values: Mapping[str, Any]  # as the peer wrote them
    running: bool
    age: float  # seconds since that, by this machine's clock


def read_status(folder: Path) -> Status:
    """Return a peer's status. Raises StatusError where the folder is no peer's."""
    if not folder.is_dir():
        raise StatusError(f"there is no folder {folder}: name the one that btard peer --out was given")
    running = is_held(folder)  # before the status is read: a peer writes its last one while it holds the lock
    try:
        with (folder / FILE).open("rb") as file:
            data = file.read(MAX_BYTES)
    except FileNotFoundError:
        if running:
            raise StatusError(f"the peer of {folder} is just starting; ask again in a moment") from None
        raise StatusError(f"{folder} is no peer's folder: there is no {FILE} in it") from None
    try:
        values = json.loads(data)
        if not isinstance(values, dict) or values.get("format") != FORMAT:
            raise ValueError
        age = max(0.0, time.time() - float(values["written"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        raise StatusError(f"{folder / FILE} is no status of this version of btard") from None
    return Status(values, running, age)
