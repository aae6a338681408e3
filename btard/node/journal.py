"""What a peer signs, on disk before it is on the wire (spec MSG-7).

The file starts with run id and key; then every record is a signed envelope behind its length and a checksum.
A peer that starts where a journal lies might sign a second message for a slot that is in it, so it does not.
"""

from __future__ import annotations

import os
from pathlib import Path

from btard.errors import BtardError
from btard.hashing import digest
from btard.statemachine.messages import Envelope
from btard.wire import encode_frame

MAGIC = b"btard journal 1\n"
CHECKSUM = 8


class JournalError(BtardError):
    """The journal cannot be used; nothing was signed."""


class Journal:
    """An append-only file of signed envelopes."""

    def __init__(self, path: Path, run: bytes, key: bytes) -> None:
        """Create the file. Raises JournalError where there is one already, or the disk refuses."""
        self._path = path
        self._dirty = False
        self._empty = True
        try:
            self._file = path.open("xb", buffering=0)
        except FileExistsError:
            raise JournalError(
                f"{path} is the journal of an earlier start. A peer that starts over could contradict what "
                "it signed then and be banned for it: start a new run (btard init), or choose another --out "
                "if that journal belongs to another run"
            ) from None
        except OSError as error:
            raise self._refusal(error) from error
        try:
            self._write(MAGIC + run + key)
            self.flush()
            self._sync_directory()
        except JournalError:
            self.close()
            raise

    def _refusal(self, error: OSError) -> JournalError:
        return JournalError(f"cannot write the journal {self._path}: {error.strerror or error}")

    def _sync_directory(self) -> None:
        try:
            directory = os.open(self._path.parent, os.O_RDONLY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        except OSError as error:
            raise self._refusal(error) from error

    def append(self, envelope: Envelope) -> None:
        """Append a record; it is durable after the next `flush`. Raises JournalError where that fails."""
        record = encode_frame(envelope)
        head = len(record).to_bytes(4, "little") + digest("journal", record)[:CHECKSUM]
        self._empty = False
        self._write(head + record)

    def _write(self, data: bytes) -> None:
        try:
            written = self._file.write(data)
        except OSError as error:
            raise self._refusal(error) from error
        if written != len(data):
            raise JournalError(f"cannot write the journal {self._path}: the disk is full")
        self._dirty = True

    def flush(self) -> None:
        """Make all records durable. Raises JournalError where the disk refuses."""
        if self._dirty:
            try:
                os.fsync(self._file.fileno())
            except OSError as error:
                raise self._refusal(error) from error
            self._dirty = False

    def close(self) -> None:
        """Close the file; where nothing was signed, remove it: a later start cannot contradict it."""
        self._file.close()
        if self._empty:
            self._path.unlink(missing_ok=True)


def read_journal(path: Path) -> tuple[bytes, bytes, list[bytes]]:
    """Return run id, key and the records of a journal, as frames.

    Raises JournalError where the file is no journal, torn or changed.
    """
    data = path.read_bytes()
    start = len(MAGIC) + 64
    if not data.startswith(MAGIC) or len(data) < start:
        raise JournalError(f"{path} is no journal of btard")
    run, key = data[len(MAGIC) : len(MAGIC) + 32], data[len(MAGIC) + 32 : start]
    records = []
    while start < len(data):
        size = int.from_bytes(data[start : start + 4], "little")
        body = start + 4 + CHECKSUM
        record = data[body : body + size]
        if len(record) < size or digest("journal", record)[:CHECKSUM] != data[start + 4 : body]:
            raise JournalError(f"{path} is torn or changed at byte {start}")
        records.append(record)
        start = body + size
    return run, key, records
