"""The ledger of one peer: a SQLite file in its folder, with vectors beside it, by digest (spec OPS-15).

Every row carries a checksum, and a seal covers all of them, so whatever a disk changes or loses is noticed.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final, cast

from btard.errors import BtardError
from btard.hashing import digest, object_digest
from btard.ledger.entry import UNREADABLE, Entry, Judgement, pack_envelopes, unpack_envelopes
from btard.statemachine.messages import Digest, Envelope

FILE: Final = "ledger.sqlite"
OBJECTS: Final = "ledger-objects"
FORMAT: Final = b"btard ledger 1"
_DISK: Final = (sqlite3.Error, OSError)


class LedgerError(BtardError):
    """A ledger that cannot be read or written; the message says why in one line."""


class Ledger:
    """Rows of four kinds: meta, decision (by epoch), entry (by epoch and peer), judgement (by claim)."""

    def __init__(self, folder: Path | None, connection: sqlite3.Connection) -> None:
        self._folder = folder
        self._connection = connection
        self._memory: dict[Digest, bytes] = {}  # the vectors of a ledger without a folder

    @classmethod
    def create(cls, folder: Path | None, run: bytes, genesis: str, base: str) -> Ledger:
        """Open the ledger of a run in a peer's folder, or in memory; make it where there is none.

        ``genesis`` is the run file's text, ``base`` the folder that it was read from. Raises LedgerError where
        the folder holds that of another run, or the disk refuses.
        """
        try:
            path = ":memory:" if folder is None else str(folder / FILE)
            connection = sqlite3.connect(path, isolation_level=None)
            ledger = cls(folder, connection)
            connection.execute("PRAGMA page_size = 512")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(
                "CREATE TABLE IF NOT EXISTS rows (kind BLOB, name BLOB, payload BLOB, checksum BLOB,"
                " PRIMARY KEY (kind, name)) WITHOUT ROWID"
            )
            if not connection.execute("SELECT count(*) FROM rows").fetchone()[0]:
                ledger._write({(b"meta", name): value for name, value in _meta(run, genesis, base).items()})
        except _DISK as error:
            raise LedgerError(f"cannot write the ledger {ledger_path(folder)}: {error}") from error
        ledger.check()
        found = ledger.meta(b"run")
        if found != run:
            connection.close()
            raise LedgerError(
                f"{ledger_path(folder)} is the ledger of another run ({found.hex()[:8]}): choose another --out"
            )
        return ledger

    @classmethod
    def open(cls, folder: Path) -> Ledger:
        """Open a peer's ledger to read it. Raises LedgerError where there is none, or it is damaged."""
        path = folder / FILE
        if not folder.is_dir():
            raise LedgerError(f"there is no folder {folder}: name the one that btard peer --out was given")
        if not path.is_file():
            raise LedgerError(
                f"{folder} holds no ledger: there is no {FILE} in it (btard peer --out writes it)"
            )
        try:
            connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None)
        except sqlite3.Error as error:
            raise LedgerError(f"cannot read the ledger {path}: {error}") from error
        ledger = cls(folder, connection)
        ledger.check()
        return ledger

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    # -- writing ----------------------------------------------------------------------------------------

    def put_entry(self, entry: Entry) -> None:
        """Keep an entry, unless the one that is there has the proof that goes before (spec OPS-13)."""
        best = entry.better(self.entry(entry.key))
        self._put(b"entry", best.key, best.to_bytes())

    def put_decision(self, epoch: int, signed: tuple[Envelope, ...]) -> None:
        """Keep the EPOCH records that ended an epoch."""
        self._put(b"decision", epoch.to_bytes(4, "big"), pack_envelopes(signed))

    def put_judgement(self, judgement: Judgement) -> None:
        """Keep what a judge computed from; its vectors must have been kept before."""
        self._put(b"judgement", judgement.key, judgement.to_bytes())

    def put_object(self, data: bytes | memoryview) -> Digest:
        """Keep a vector; return its digest. Any thread may do it. Raises LedgerError if the disk refuses."""
        name = object_digest(data)
        if self._folder is None:
            self._memory[name] = bytes(data)
            return name
        path = self._folder / OBJECTS / name.hex()
        draft = path.with_suffix(".partial")
        try:
            path.parent.mkdir(exist_ok=True)
            if not path.exists():
                with draft.open("wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                draft.replace(path)
        except OSError as error:
            raise LedgerError(f"cannot write {path}: {error.strerror or error}") from error
        return name

    def _put(self, kind: bytes, name: bytes, payload: bytes) -> None:
        try:
            self._write({(kind, name): payload})
        except _DISK as error:
            raise LedgerError(f"cannot write the ledger {ledger_path(self._folder)}: {error}") from error

    def _write(self, rows: dict[tuple[bytes, bytes], bytes]) -> None:
        with _transaction(self._connection):
            for (kind, name), payload in rows.items():
                self._replace(kind, name, payload, checksum(kind, name, payload))
            seal = _seal(cast(list[bytes], [row[0] for row in self._connection.execute(_CHECKSUMS)]))
            self._replace(b"seal", b"", b"", seal)

    def _replace(self, *row: bytes) -> None:
        self._connection.execute("INSERT OR REPLACE INTO rows VALUES (?, ?, ?, ?)", row)

    # -- reading ----------------------------------------------------------------------------------------

    def check(self) -> None:
        """Look at every row. Raises LedgerError where anything was changed or lost (spec OPS-15)."""
        try:
            with _transaction(self._connection):
                rows = self._connection.execute("SELECT kind, name, payload, checksum FROM rows").fetchall()
        except (sqlite3.Error, ValueError, MemoryError) as error:
            if "locked" in str(error):
                raise LedgerError(f"{ledger_path(self._folder)} is being written: ask again") from error
            raise self._damaged(str(error)) from error
        sums, seals = [], []
        for row in rows:
            if not all(isinstance(value, bytes) for value in row):
                raise self._damaged("a row holds no bytes")
            kind, name, payload, found = row
            if kind == b"seal":
                seals.append(found)
            elif found != checksum(kind, name, payload):
                raise self._damaged("a row does not have its checksum")
            else:
                sums.append(found)
        if seals != [_seal(sums)]:
            raise self._damaged("rows are missing")
        if self.meta(b"format") != FORMAT:
            raise LedgerError(f"{ledger_path(self._folder)} was written by another version of btard")

    def _damaged(self, why: str) -> LedgerError:
        return LedgerError(
            f"the ledger {ledger_path(self._folder)} is damaged ({why}): nothing in it can be relied on; "
            "ask another peer for its ledger"
        )

    def meta(self, name: bytes) -> bytes:
        """Return one of: format, run, genesis, base."""
        data = self._get(b"meta", name)
        if data is None:
            raise self._damaged(f"it does not say its {name.decode()}")
        return data

    def entries(self) -> list[Entry]:
        """Return all entries in the order of epochs and peers."""
        with self._readable():
            return [Entry.from_bytes(payload) for payload in self._all(b"entry")]

    def entry(self, key: bytes) -> Entry | None:
        """Return the entry at a place, if there is one."""
        with self._readable():
            data = self._get(b"entry", key)
            return None if data is None else Entry.from_bytes(data)

    def decisions(self) -> dict[int, tuple[Envelope, ...]]:
        """Return, for each epoch that has ended, the EPOCH records that ended it."""
        with self._readable():
            rows = self._connection.execute(
                "SELECT name, payload FROM rows WHERE kind = ? ORDER BY name", (b"decision",)
            ).fetchall()
            return {int.from_bytes(name, "big"): unpack_envelopes(payload) for name, payload in rows}

    def judgement(self, key: bytes) -> Judgement | None:
        """Return a judgement, None where this peer has not judged."""
        with self._readable():
            data = self._get(b"judgement", key)
            return None if data is None else Judgement.from_bytes(data)

    def judgements(self) -> list[Judgement]:
        """Return all judgements."""
        with self._readable():
            return [Judgement.from_bytes(payload) for payload in self._all(b"judgement")]

    def object(self, name: Digest) -> bytes:
        """Return a vector. Raises LedgerError where it is missing or was changed."""
        if self._folder is None:
            return self._memory[name]
        path = self._folder / OBJECTS / name.hex()
        try:
            data = path.read_bytes()
        except OSError as error:
            raise LedgerError(f"cannot read {path}: {error.strerror or error}") from error
        if object_digest(data) != name:
            raise LedgerError(f"{path} is damaged: it does not have the digest that is its name")
        return data

    def export(self) -> bytes:
        """Return all entries, in the bytes that are the same at all honest peers (spec OPS-13)."""
        return b"".join(len(row).to_bytes(4, "big") + row for row in self._all(b"entry"))

    def _get(self, kind: bytes, name: bytes) -> bytes | None:
        query = "SELECT payload FROM rows WHERE kind = ? AND name = ?"
        try:
            row = self._connection.execute(query, (kind, name)).fetchone()
        except sqlite3.Error as error:
            raise self._damaged(str(error)) from error
        return None if row is None else cast(bytes, row[0])

    def _all(self, kind: bytes) -> list[bytes]:
        query = "SELECT payload FROM rows WHERE kind = ? ORDER BY name"
        return [row[0] for row in self._connection.execute(query, (kind,)).fetchall()]

    @contextlib.contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, *UNREADABLE) as error:
            raise self._damaged(f"{error!r:.100}") from error


_CHECKSUMS: Final = "SELECT checksum FROM rows WHERE kind != x'7365616c' ORDER BY kind, name"


def ledger_path(folder: Path | None) -> str:
    """Return what messages call a ledger."""
    return "in memory" if folder is None else str(folder / FILE)


def checksum(kind: bytes, name: bytes, payload: bytes) -> bytes:
    """Return the checksum of a row."""
    return digest("ledger row", kind, name, payload)


def _seal(sums: list[bytes]) -> bytes:
    return digest("ledger seal", *sorted(sums))


def _meta(run: bytes, genesis: str, base: str) -> dict[bytes, bytes]:
    return {b"format": FORMAT, b"run": run, b"genesis": genesis.encode(), b"base": os.fsencode(base)}


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN")
    try:
        yield
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
