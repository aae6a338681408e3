"""How a ledger's rows lie in SQLite: each with its checksum, and a seal that covers all of them."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from typing import Final, cast

from btard.hashing import digest

_TABLE: Final = (
    "CREATE TABLE rows (kind BLOB, name BLOB, payload BLOB, checksum BLOB,"
    " PRIMARY KEY (kind, name)) WITHOUT ROWID"
)
_CHECKSUMS: Final = "SELECT checksum FROM rows WHERE kind != x'7365616c' ORDER BY kind, name"
_REFUSED: Final = (
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_READONLY,
)

Rows = dict[tuple[bytes, bytes], bytes]
"""Payloads by kind and name."""


def is_refusal(error: Exception) -> bool:
    """Whether the disk refuses a file, which says nothing about what is in it."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in _REFUSED


def make_table(connection: sqlite3.Connection, rows: Rows) -> None:
    """Make the table with its first rows, all or nothing: a crash leaves an empty file behind."""
    connection.execute("PRAGMA page_size = 512")
    with transaction(connection):
        connection.execute(_TABLE)
        _replace_all(connection, rows)


def replace(connection: sqlite3.Connection, rows: Rows) -> None:
    """Write rows, and the seal with them."""
    with transaction(connection):
        _replace_all(connection, rows)


def _replace_all(connection: sqlite3.Connection, rows: Rows) -> None:
    for (kind, name), payload in rows.items():
        _replace(connection, kind, name, payload, checksum(kind, name, payload))
    sums = cast(list[bytes], [row[0] for row in connection.execute(_CHECKSUMS)])
    _replace(connection, b"seal", b"", b"", seal(sums))


def _replace(connection: sqlite3.Connection, *row: bytes) -> None:
    connection.execute("INSERT OR REPLACE INTO rows VALUES (?, ?, ?, ?)", row)


def checksum(kind: bytes, name: bytes, payload: bytes) -> bytes:
    """Return the checksum of a row."""
    return digest("ledger row", kind, name, payload)


def seal(sums: list[bytes]) -> bytes:
    """Return what covers the checksums of all rows."""
    return digest("ledger seal", *sorted(sums))


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All or nothing."""
    connection.execute("BEGIN")
    try:
        yield
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
