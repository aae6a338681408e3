"""A peer's memory on disk: what it signed, and every event since the last step began (spec MSG-7, OPS-7).

One SQLite file. The state machine is deterministic, so a snapshot and the events after it give the state back.
Rows are chained by checksums, and a small file beside it, the head, says how long the chain is: whatever is
changed or cut off, at any place, is noticed. An event is a row before anything that follows from it leaves this
machine.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Final, cast

from attrs import frozen

from btard.disk import ADVICE
from btard.errors import BtardError
from btard.hashing import digest
from btard.node.frozen import FrozenError, freeze, thaw
from btard.node.outstanding import Outstanding
from btard.statemachine.events import Event
from btard.statemachine.messages import Digest, Envelope, SlotKey
from btard.statemachine.state import State

FORMAT: Final = 3
MAX_PENDING: Final = 512  # events kept in memory between two messages of one's own
_SCHEMA: Final = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE signed (
    number INTEGER PRIMARY KEY, slot BLOB NOT NULL UNIQUE, hash BLOB NOT NULL, sum BLOB NOT NULL
);
CREATE TABLE history (number INTEGER PRIMARY KEY, data BLOB NOT NULL, sum BLOB NOT NULL);
"""
_EMPTY: Final = bytes(32)
HEAD_SIZE: Final = 48
_NOT_DAMAGED: Final = (
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_READONLY,
)


class JournalError(BtardError):
    """The journal cannot be used; nothing was signed."""


@frozen
class Saved:
    """Where the peer stood at the start of a step, and what happened since."""

    state: State
    outstanding: Outstanding
    events: tuple[Event, ...]


def journal_path(folder: Path, run: bytes) -> Path:
    """Return where the journal of a run lies in a peer's folder."""
    return folder / f"journal-{run.hex()[:16]}.sqlite"


class Journal:
    """The journal of one peer in one run. Opening it gives back what is in it as `saved`, None if it is new."""

    def __init__(self, path: Path, run: bytes, key: bytes, version: str = "") -> None:
        """Open or create it. Raises JournalError where it is another's, damaged, or the disk refuses."""
        self._path, self._head_path = path, path.with_name(path.name + "-head")
        self.saved: Saved | None = None
        self._identity = {"format": bytes([FORMAT]), "run": run, "key": key, "version": version.encode()}
        self._pending: list[tuple[int, bytes, bytes]] = []
        self._pending_signed: dict[bytes, tuple[int, bytes, bytes]] = {}  # by slot: number, hash, checksum
        self._replaces = False  # the history on disk: the first pending row is a snapshot
        self._number, self._sum = 0, _EMPTY
        self.events = 0  # since the last snapshot
        self._signed, self._signed_sum = 0, _EMPTY
        try:
            if not path.exists():
                self._create()
            self._head = os.open(self._head_path, os.O_RDWR)
        except FileNotFoundError as error:
            if error.filename == str(self._head_path):
                raise self._damaged(f"{self._head_path.name} is gone") from None
            raise self._refusal(error) from error
        except (OSError, sqlite3.Error) as error:
            raise self._refusal(error) from error
        self._db = sqlite3.connect(path, isolation_level=None, timeout=0)
        try:
            self._open()
        except BaseException:
            self._close()
            raise

    # -- opening ----------------------------------------------------------------------------------------

    def _create(self) -> None:
        """Make both files, whole or not at all. Raises JournalError where the head of another one is there."""
        if self._head_path.exists() and self._head_path.read_bytes() not in (b"", self._head_content()):
            raise self._damaged(f"{self._path.name} is gone, {self._head_path.name} is still there")
        draft = self._path.with_name(self._path.name + "-new")
        draft.unlink(missing_ok=True)
        try:
            draft.touch(0o600)  # it holds what this peer has not revealed yet
            database = sqlite3.connect(draft, isolation_level=None)
            try:
                database.executescript(f"BEGIN; {_SCHEMA} COMMIT;")
                database.executemany("INSERT INTO meta VALUES (?, ?)", self._identity.items())
            finally:
                database.close()
            self._head_path.touch(0o600)
            self._head = os.open(self._head_path, os.O_RDWR)
            try:
                self._write_head()
                os.fsync(self._head)
            finally:
                os.close(self._head)
            draft.replace(self._path)
            sync_folder(self._path.parent)
        except BaseException:
            for path in (draft, self._head_path):
                path.unlink(missing_ok=True)
            raise

    def _open(self) -> None:
        try:
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._read()
        except (sqlite3.Error, OSError) as error:
            raise self._refusal(error) from error
        except (FrozenError, ValueError, TypeError, OverflowError) as error:
            raise self._damaged(str(error)) from error

    def _read(self) -> None:
        if (found := self._db.execute("PRAGMA integrity_check").fetchone()) != ("ok",):
            raise self._damaged(str(found[0]))
        self._check_identity(dict(self._db.execute("SELECT name, value FROM meta")))
        if _tables(self._db) != _expected_tables():
            raise self._damaged("its tables were changed")  # the integrity check takes any column's name
        for number, slot, name, check in self._db.execute("SELECT * FROM signed ORDER BY number"):
            self._signed_sum = digest("journal signed", self._signed_sum, slot, name)
            if (number, check) != (self._signed, self._signed_sum):
                raise self._damaged(f"signature {number} was changed")
            self._signed += 1
        values: list[bytes] = []
        for number, data, check in self._db.execute("SELECT * FROM history ORDER BY number"):
            if not values:
                self._begin_chain(number)
            self._link(data)
            if (number, check) != (self._number, self._sum):
                raise self._damaged(f"event {number} was changed")
            values.append(data)
        self.events = len(values)
        self._check_head()
        if values:
            state, outstanding = thaw(values[0])
            self.saved = Saved(state, outstanding, tuple(map(thaw, values[1:])))

    def _check_identity(self, found: Mapping[str, object]) -> None:
        if not all(isinstance(value, bytes) for value in found.values()):
            raise self._damaged("what it says of its run and key is not written as it was")
        if found.keys() != self._identity.keys() or self._wrong(found, "format"):
            raise JournalError(f"{self._path} was written by another version of btard: install that one")
        if self._wrong(found, "run"):
            raise JournalError(f"{self._path} is the journal of another run: choose another --out")
        if self._wrong(found, "key"):
            raise JournalError(
                f"{self._path} is the journal of another peer: use its key, or choose another --out"
            )
        if self._wrong(found, "version"):
            version = bytes(cast(bytes, found["version"])).decode(errors="replace")[:20]
            raise JournalError(
                f"{self._path} was written by btard {version}: a step "
                "goes on with the version that began it; install that one"
            )

    def _wrong(self, found: Mapping[str, object], name: str) -> bool:
        return found[name] != self._identity[name]

    def _begin_chain(self, number: int) -> None:
        """Begin a chain with a snapshot; it is numbered on."""
        self._number, self._sum = number - 1, digest("journal chain", number.to_bytes(8, "little"))

    def _link(self, data: bytes) -> None:
        self._number += 1
        self._sum = digest("journal", self._sum, self._number.to_bytes(8, "little"), data)

    # -- the head: how long the chains are ----------------------------------------------------------------

    def _head_content(self) -> bytes:
        return _head(self._number, self._signed, self._sum, self._signed_sum)

    def _write_head(self) -> None:
        # Not synced: it may be older than the rows after the machine went down, never newer than they are.
        content = self._head_content()
        if os.pwrite(self._head, content, 0) != len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _check_head(self) -> None:
        found = os.pread(self._head, 2 * HEAD_SIZE, 0)
        number, signed = int.from_bytes(found[:8], "little"), int.from_bytes(found[8:16], "little")
        if len(found) != HEAD_SIZE or number > self._number or signed > self._signed:
            raise self._damaged("its end is missing, or the head was changed")
        if found != self._head_content() and found != self._earlier_head(number, signed, found):
            raise self._damaged("the head was changed")

    def _earlier_head(self, number: int, signed: int, found: bytes) -> bytes:
        """Return what the head was at an earlier end of the chains: it is written after the rows are."""
        (first,) = self._db.execute("SELECT min(number) FROM history").fetchone()
        if number < (first or 0):
            return found  # before the last snapshot: whatever it covered is gone, as it should be
        sums = [
            self._db.execute(f"SELECT sum FROM {table} WHERE number = ?", (last,)).fetchone()
            for table, last in (("history", number), ("signed", signed - 1))
        ]
        return _head(number, signed, *(row[0] if row else _EMPTY for row in sums))

    # -- writing ----------------------------------------------------------------------------------------

    def record(self, event: Event) -> None:
        """Append an event; it is durable after the next `flush`. Raises JournalError where that fails."""
        self._append(freeze(event))

    def snapshot(self, state: State, outstanding: Outstanding) -> None:
        """Replace all events so far by where they led; durable as `record` is."""
        self._pending.clear()
        self._replaces = True
        self._begin_chain(self._number + 1)
        self.events = 0
        self._append(freeze((state, outstanding)))

    def _append(self, data: bytes) -> None:
        self._link(data)
        self.events += 1
        self._pending.append((self._number, data, self._sum))
        if len(self._pending) > MAX_PENDING:
            self.flush()

    def sign(self, envelope: Envelope) -> None:
        """Note what this peer signs; durable after the next `flush` (spec MSG-5).

        Raises JournalError where it has signed something else for that slot.
        """
        if envelope.message is None:
            raise JournalError("a message of one's own cannot be read back: a fault of this program")
        slot = freeze(envelope.message.slot)
        known = self._signed_for(slot)
        if known == envelope.hash:
            return
        if known is not None:
            raise JournalError(
                f"{self._path} holds another message for {envelope.message.slot} than this peer was about to "
                "sign; nothing was sent: check this machine's memory and disk, and stop using this key"
            )
        self._signed_sum = digest("journal signed", self._signed_sum, slot, envelope.hash)
        self._pending_signed[slot] = (self._signed, envelope.hash, self._signed_sum)
        self._signed += 1

    def _signed_for(self, slot: bytes) -> Digest | None:
        if slot in self._pending_signed:
            return self._pending_signed[slot][1]
        row = self._db.execute("SELECT hash FROM signed WHERE slot = ?", (slot,)).fetchone()
        return bytes(row[0]) if row else None

    def knows(self, slot: SlotKey, name: Digest) -> bool:
        """Whether this message is what was signed for its slot."""
        return self._signed_for(freeze(slot)) == name

    @property
    def signatures(self) -> int:
        """How many messages this peer has signed in the run."""
        return self._signed

    def flush(self) -> None:
        """Make everything durable. Raises JournalError where the disk refuses."""
        if not (self._pending or self._pending_signed):
            return
        try:
            self._db.execute("BEGIN IMMEDIATE")
            if self._replaces:
                self._db.execute("DELETE FROM history")
            self._db.executemany("INSERT INTO history VALUES (?, ?, ?)", self._pending)
            rows = [(row[0], slot, *row[1:]) for slot, row in self._pending_signed.items()]
            self._db.executemany("INSERT INTO signed VALUES (?, ?, ?, ?)", rows)
            self._db.execute("COMMIT")
            self._write_head()
        except (sqlite3.Error, OSError) as error:
            raise self._refusal(error) from error
        self._pending.clear()
        self._pending_signed.clear()
        self._replaces = False

    # -- the end ----------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close it. Where nothing was signed, remove it: a later start cannot contradict it."""
        self._close()
        if not self._signed:
            for suffix in ("", "-wal", "-head"):
                self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)

    def _close(self) -> None:
        self._db.close()
        os.close(self._head)

    def _refusal(self, error: Exception) -> JournalError:
        code = getattr(error, "sqlite_errorcode", None)
        if isinstance(error, sqlite3.Error) and (code is None or code & 0xFF not in _NOT_DAMAGED):
            return self._damaged(str(error))
        if code == sqlite3.SQLITE_BUSY:
            return JournalError(f"{self._path} is in use by another process: stop that one")
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        return JournalError(f"cannot use the journal {self._path}: {reason}; {ADVICE}")

    def _damaged(self, what: str) -> JournalError:
        what = " ".join(what.split())[:200]
        return JournalError(
            f"{self._path} is damaged ({what}): this peer cannot know what it signed, and signs nothing "
            "more in this run; restore the folder as it was last, or go on without this peer"
        )


def _head(number: int, signed: int, last: bytes, last_signed: bytes) -> bytes:
    places = number.to_bytes(8, "little") + signed.to_bytes(8, "little")
    return places + digest("journal head", places, last, last_signed)


def _tables(database: sqlite3.Connection) -> list[tuple[str, str, str | None]]:
    return database.execute("SELECT type, name, sql FROM sqlite_master ORDER BY name").fetchall()


def _expected_tables() -> list[tuple[str, str, str | None]]:
    with contextlib.closing(sqlite3.connect(":memory:")) as database:
        database.executescript(_SCHEMA)
        return _tables(database)


def sync_folder(folder: Path) -> None:
    """Make new names in a folder durable. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
