"""A ledger's file: whatever a disk changes or loses is noticed, with one clear line."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest

from btard.cli.main import main
from btard.ledger.entry import Entry
from btard.ledger.errors import LedgerError
from btard.ledger.file import FILE, Ledger
from btard.ledger.vectors import OBJECTS
from tests.ledger.test_equal import CHEAT, PROOFS, SIGNED

RUN = bytes(32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    ledger = Ledger.create(tmp_path, RUN, "text", "base")
    ledger.put_entry(Entry(0, CHEAT, "ban", PROOFS[0]))
    ledger.put_decision(0, (SIGNED[0],))
    ledger.close()
    return tmp_path


def read(folder: Path) -> tuple[bytes, object]:
    ledger = Ledger.open(folder)
    try:
        return ledger.export(), (ledger.entries(), ledger.decisions(), ledger.meta(b"genesis"))
    finally:
        ledger.close()


def damaged(folder: Path, right: tuple[bytes, object]) -> bool:
    """Whether a ledger is refused, in one line; one that is not holds what it did."""
    try:
        found = read(folder)
    except LedgerError as error:
        return "\n" not in str(error)
    if found != right:
        pytest.fail("a ledger that was changed passes for another")
    return False


@pytest.mark.shows("OPS-15")
@pytest.mark.refuses("OPS-15")
def test_flipped_bits_are_noticed_or_harmless(folder: Path) -> None:
    whole, right = (folder / FILE).read_bytes(), read(folder)
    noticed = 0
    for place in range(len(whole)):
        bad = bytearray(whole)
        bad[place] ^= 1 << place % 8
        (folder / FILE).write_bytes(bad)
        noticed += damaged(folder, right)
    assert noticed > len(whole) / 4


@pytest.mark.refuses("OPS-15")
def test_truncated_files_are_noticed(folder: Path) -> None:
    whole, right = (folder / FILE).read_bytes(), read(folder)
    for size in range(len(whole)):
        (folder / FILE).write_bytes(whole[:size])
        # What a page does not use at its end may be missing.
        assert damaged(folder, right) or size > len(whole) - 512


@pytest.mark.refuses("OPS-15")
def test_missing_rows_are_noticed(folder: Path) -> None:
    with sqlite3.connect(folder / FILE) as connection:
        connection.execute("DELETE FROM rows WHERE kind = x'656e747279'")
    connection.close()
    with pytest.raises(LedgerError, match="rows are missing"):
        Ledger.open(folder)


@pytest.mark.refuses("OPS-15")
def test_a_changed_vector_is_noticed(folder: Path) -> None:
    ledger = Ledger.open(folder)
    name = ledger.put_object(b"a vector")
    assert ledger.object(name) == b"a vector"
    (folder / OBJECTS / name.hex()).write_bytes(b"a Vector")
    with pytest.raises(LedgerError, match="is damaged"):
        ledger.object(name)
    (folder / OBJECTS / name.hex()).unlink()
    with pytest.raises(LedgerError, match="No such file"):
        ledger.object(name)
    ledger.close()


def test_a_peer_goes_on_with_its_own_ledger_and_with_no_other(folder: Path) -> None:
    right = read(folder)
    Ledger.create(folder, RUN, "text", "base").close()
    assert read(folder) == right
    with pytest.raises(LedgerError, match=r"of another run .*: choose another --out"):
        Ledger.create(folder, b"other run".ljust(32), "text", "base")


@pytest.mark.parametrize("command", [["ledger"], ["why", "dave"]])
def test_no_ledger(tmp_path: Path, command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    for folder, words in ((tmp_path, "holds no ledger"), (tmp_path / "none", "there is no folder")):
        assert main([*command, str(folder)]) == 1
        printed, errors = capsys.readouterr()
        assert printed == ""
        assert words in errors
        assert errors.count("\n") == 1


def test_a_disk_that_refuses(folder: Path) -> None:
    ledger = Ledger.open(folder)
    shutil.rmtree(folder / OBJECTS, ignore_errors=True)
    (folder / OBJECTS).write_bytes(b"")
    with pytest.raises(LedgerError, match="cannot write"):
        ledger.put_object(b"a vector")
    ledger._connection.execute("PRAGMA query_only = 1")
    with pytest.raises(LedgerError, match="cannot write the ledger"):
        ledger.put_entry(Entry(1, 1, "ban", None))
    ledger.close()
