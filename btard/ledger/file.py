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

from btard.ledger import rows
from btard.ledger.entry import UNREADABLE, Begins, Entry, Judgement, pack_envelopes, unpack_envelopes
from btard.ledger.errors import DamagedLedgerError, LedgerError, UnusableLedgerError
from btard.ledger.vectors import Vectors
from btard.statemachine.messages import Digest, Envelope

FILE: Final = "ledger.sqlite"
FORMAT: Final = b"btard ledger 1"
_DISK: Final = (sqlite3.Error, OSError)


class Ledger:
    """Rows: meta, decision (by epoch), entry and seen (by epoch and peer), judgement (by claim)."""

    def __init__(self, folder: Path | None, connection: sqlite3.Connection) -> None:
        self._folder = folder
        self._connection = connection
        self._vectors = Vectors(folder)

    @classmethod
    def create(
        cls, folder: Path | None, run: bytes, genesis: str, base: str, begins: Begins | None = None
    ) -> Ledger:
        """Open the ledger of a run in a peer's folder, or in memory; make it where there is none.

        ``genesis`` is the run file's text, ``base`` the folder that it was read from. ``begins`` is where a
        peer stands that has taken part already: a ledger that has to be made says that it lacks what came
        before (spec OPS-20). Raises LedgerError where the folder holds that of another run, one that is
        damaged, or the disk refuses.
        """
        missing = folder is None or is_missing(folder)
        ledger = cls(folder, _connect(":memory:" if folder is None else str(folder / FILE), folder))
        try:
            if missing:
                ledger._begin(_meta(run, genesis, base, begins))
            ledger.check()
            ledger._connection.execute("PRAGMA synchronous = FULL")
            found = ledger.meta(b"run")
            if found != run:
                other = f"{ledger_path(folder)} is the ledger of another run ({found.hex()[:8]})"
                raise LedgerError(f"{other}: choose another --out")
        except BaseException:
            ledger.close()
            raise
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
        ledger = cls(folder, _connect(f"{path.absolute().as_uri()}?mode=rw", folder))
        try:
            ledger.check()
        except BaseException:
            ledger.close()
            raise
        return ledger

    def _begin(self, meta: dict[bytes, bytes]) -> None:
        try:
            rows.make_table(self._connection, {(b"meta", name): value for name, value in meta.items()})
        except _DISK as error:
            raise self._unusable("write", error) from error

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    # -- writing ----------------------------------------------------------------------------------------

    def begin_again(self, begins: Begins) -> None:
        """Say that the ledger is complete only from here on (spec OPS-20)."""
        self._put(b"meta", b"begins", begins.to_bytes())

    def put_entry(self, entry: Entry) -> None:
        """Keep an entry, unless the one that is there has the proof that goes before (spec OPS-13)."""
        best = entry.better(self.entry(entry.key))
        self._put(b"entry", best.key, best.to_bytes())

    def put_seen(self, seen: Entry) -> None:
        """Keep the least proof against a member that was seen before any decision (spec OPS-13)."""
        self._put(b"seen", seen.key, seen.to_bytes())

    def put_decision(self, epoch: int, signed: tuple[Envelope, ...]) -> None:
        """Keep the EPOCH records that ended an epoch."""
        self._put(b"decision", epoch.to_bytes(4, "big"), pack_envelopes(signed))

    def put_judgement(self, judgement: Judgement) -> None:
        """Keep what a judge computed from; its vectors must have been kept before."""
        self._put(b"judgement", judgement.key, judgement.to_bytes())

    def put_object(self, data: bytes | memoryview) -> Digest:
        """Keep a vector; return its digest. Any thread may do it. Raises LedgerError if the disk refuses."""
        return self._vectors.put(data)

    def _put(self, kind: bytes, name: bytes, payload: bytes) -> None:
        try:
            rows.replace(self._connection, {(kind, name): payload})
        except _DISK as error:
            raise self._unusable("write", error) from error

    # -- reading ----------------------------------------------------------------------------------------

    def check(self) -> None:
        """Look at every row. Raises LedgerError where anything was changed or lost (spec OPS-15)."""
        try:
            with rows.transaction(self._connection):
                found = self._connection.execute("SELECT kind, name, payload, checksum FROM rows").fetchall()
        except (sqlite3.Error, ValueError, MemoryError) as error:
            if "locked" in str(error):
                raise UnusableLedgerError(f"{ledger_path(self._folder)} is being written: ask again") from error
            if rows.is_refusal(error):
                raise self._unusable("read", error) from error
            raise self._damaged(str(error)) from error
        sums, seals = [], []
        for row in found:
            if not all(isinstance(value, bytes) for value in row):
                raise self._damaged("a row holds no bytes")
            kind, name, payload, check = row
            if kind == b"seal":
                seals.append(check)
            elif check != rows.checksum(kind, name, payload):
                raise self._damaged("a row does not have its checksum")
            else:
                sums.append(check)
        if seals != [rows.seal(sums)]:
            raise self._damaged("rows are missing")
        if self.meta(b"format") != FORMAT:
            raise LedgerError(f"{ledger_path(self._folder)} was written by another version of btard")

    def _damaged(self, why: str) -> DamagedLedgerError:
        return DamagedLedgerError(
            f"the ledger {ledger_path(self._folder)} is damaged ({why}): nothing in it can be relied on; "
            "ask another peer for its ledger"
        )

    def _unusable(self, what: str, error: Exception) -> UnusableLedgerError:
        return UnusableLedgerError(f"cannot {what} the ledger {ledger_path(self._folder)}: {error}")

    def meta(self, name: bytes) -> bytes:
        """Return one of: format, run, genesis, base."""
        data = self._get(b"meta", name)
        if data is None:
            raise self._damaged(f"it does not say its {name.decode()}")
        return data

    def begins(self) -> Begins | None:
        """Return from where on it is complete; None where that is the run's beginning (spec OPS-20)."""
        with self._readable():
            data = self._get(b"meta", b"begins")
            return None if data is None else Begins.from_bytes(data)

    def entries(self) -> list[Entry]:
        """Return all entries in the order of epochs and peers."""
        with self._readable():
            return [Entry.from_bytes(payload) for payload in self._all(b"entry")]

    def seen(self) -> list[Entry]:
        """Return the least proofs that were seen before any decision; their ``kind`` says nothing."""
        with self._readable():
            return [Entry.from_bytes(payload) for payload in self._all(b"seen")]

    def entry(self, key: bytes) -> Entry | None:
        """Return the entry at a place, if there is one."""
        with self._readable():
            data = self._get(b"entry", key)
            return None if data is None else Entry.from_bytes(data)

    def decisions(self) -> dict[int, tuple[Envelope, ...]]:
        """Return, for each epoch that has ended, the EPOCH records that ended it."""
        with self._readable():
            found = self._connection.execute(
                "SELECT name, payload FROM rows WHERE kind = ? ORDER BY name", (b"decision",)
            ).fetchall()
            return {int.from_bytes(name, "big"): unpack_envelopes(payload) for name, payload in found}

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
        return self._vectors.get(name)

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


def ledger_path(folder: Path | None) -> str:
    """Return what messages call a ledger."""
    return "in memory" if folder is None else str(folder / FILE)


def is_missing(folder: Path) -> bool:
    """Whether a folder holds no ledger, or the empty file that a crash leaves where one was being made."""
    path = folder / FILE
    return not path.exists() or (path.is_file() and path.stat().st_size == 0)


def _connect(name: str, folder: Path | None) -> sqlite3.Connection:
    try:
        return sqlite3.connect(name, uri=name.startswith("file:"), isolation_level=None)
    except sqlite3.Error as error:
        raise UnusableLedgerError(f"cannot open the ledger {ledger_path(folder)}: {error}") from error


def _meta(run: bytes, genesis: str, base: str, begins: Begins | None) -> dict[bytes, bytes]:
    rows = {b"format": FORMAT, b"run": run, b"genesis": genesis.encode(), b"base": os.fsencode(base)}
    return rows if begins is None else {**rows, b"begins": begins.to_bytes()}
