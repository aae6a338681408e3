"""What others served, on disk: whoever comes back does not depend on being served again (spec OPS-17, OPS-18).

A file holds what one process fetched for one step, an object after the other: digest, length, bytes. It is only
ever appended to, so a process that comes back begins files of its own: older ones may be cut off anywhere.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Container, Iterator
from io import BufferedReader
from pathlib import Path
from threading import Lock
from typing import BinaryIO, Final

from btard.hashing import object_digest
from btard.node.journal import JournalError, sync_folder
from btard.statemachine.messages import Digest

_NAME: Final = 32  # bytes of a digest
_LENGTH: Final = 8  # bytes of the length after it, little-endian

Buffer = bytes | bytearray | memoryview


class KeptObjects:
    """Objects by the step that needs them, no more than are in memory. Any thread may write them."""

    def __init__(self, folder: Path, run: bytes) -> None:
        self._folder, self._prefix = folder, f"journal-{run.hex()[:16]}.objects-"
        self._process = 1 + max((process for _, process, _ in self._files()), default=0)
        self._queue: deque[tuple[int, Digest, Buffer]] = deque()
        self._kept: set[tuple[int, Digest]] = set()  # on disk, or on the way there
        self._writing = Lock()
        self._over = False
        self._obsolete = 0  # nobody needs objects of steps before this one,
        self._removable = 0  # nor before this one, which the journal knows

    def _files(self) -> list[tuple[int, int, Path]]:
        """Return the step, the number of the process, and the path of every file, in order."""
        found = []
        for path in self._folder.glob(self._prefix + "*"):
            step, _, process = path.name.removeprefix(self._prefix).partition("-")
            if step.isdecimal() and process.isdecimal():
                found.append((int(step), int(process), path))
        return sorted(found)

    # -- writing ----------------------------------------------------------------------------------------

    def keep(self, step: int, name: Digest, data: Buffer) -> None:
        """Have an object that ``step`` needs written; it is durable after the next `write`."""
        if (step, name) not in self._kept:
            self._kept.add((step, name))
            self._queue.append((step, name, data))

    def write(self) -> None:
        """Write all that came meanwhile: it is durable at once, and those who call later find nothing to do.

        Raises JournalError where the disk refuses.
        """
        with self._writing, self._disk(), contextlib.ExitStack() as files:
            if self._over:
                return
            self._remove_old()
            found: dict[int, BinaryIO] = {}
            while self._queue:
                step, name, data = self._queue.popleft()
                if step not in found:
                    found[step] = files.enter_context(self._opened(step))
                for piece in (name, len(data).to_bytes(_LENGTH, "little"), data):
                    found[step].write(piece)
            for file in found.values():
                file.flush()
                os.fsync(file.fileno())
            if found:
                sync_folder(self._folder)

    def _opened(self, step: int) -> BinaryIO:
        path = self._folder / f"{self._prefix}{step}-{self._process}"
        # A part is its aggregator's alone to see until it is published (spec STP-6).
        return open(path, "ab", opener=lambda name, flags: os.open(name, flags, 0o600))

    @contextlib.contextmanager
    def _disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise JournalError(
                f"cannot keep what other peers served in {self._folder}: {error.strerror or error}; make room "
                "on the disk, or make the folder writable, and start this peer again"
            ) from error

    # -- reading ----------------------------------------------------------------------------------------

    def read(self, wanted: Container[Digest]) -> Iterator[tuple[int, Digest, bytearray]]:
        """Return what earlier processes kept of this, with the step that needs it, but not what was damaged.

        Raises JournalError where the disk refuses.
        """
        for step, process, path in self._files():
            if process < self._process:
                try:
                    with path.open("rb") as file:
                        for name, data in _objects(file, wanted):
                            self._kept.add((step, name))
                            yield step, name, data
                except FileNotFoundError:
                    continue  # removed meanwhile: nobody needs it any more
                except OSError as error:
                    raise JournalError(f"cannot read {path}: {error.strerror or error}") from error

    # -- the end ----------------------------------------------------------------------------------------

    def discard(self, before: int) -> None:
        """Nobody needs objects of steps before this one, as soon as the journal knows that."""
        self._obsolete = before

    def tidy(self) -> None:
        """Let files that nobody needs go before the next is written: call it when the journal is durable."""
        if self._obsolete > self._removable:
            self._removable = self._obsolete
            # A copy: another thread may be reading what earlier processes kept.
            self._kept = {entry for entry in tuple(self._kept) if entry[0] >= self._removable}

    def _remove_old(self) -> None:
        for step, _, path in self._files():
            if step < self._removable:
                path.unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove all files: the run is over, and what is still to be written is not needed any more."""
        with self._writing:
            self._over = True
            for _, _, path in self._files():
                path.unlink(missing_ok=True)


def _objects(file: BufferedReader, wanted: Container[Digest]) -> Iterator[tuple[Digest, bytearray]]:
    """Return the objects of a file whose bytes have the digest that stands before them (spec OPS-18)."""
    left = os.fstat(file.fileno()).st_size
    while left >= _NAME + _LENGTH:
        name = file.read(_NAME)
        length = int.from_bytes(file.read(_LENGTH), "little")
        left -= _NAME + _LENGTH + length
        if left < 0:
            return  # cut off; or its length is not what was written, and all after it is lost
        if name not in wanted:
            file.seek(length, os.SEEK_CUR)
            continue
        data = bytearray(length)  # torch wants writable memory
        if file.readinto(data) == length and object_digest(data) == name:
            yield name, data
