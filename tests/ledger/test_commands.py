"""`btard ledger` and `btard why` on the ledgers of a run with three cheats, some of them tampered with."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import evolve

from btard.cli.main import main
from btard.ledger.entry import Begins, Entry, Judgement
from btard.ledger.file import Ledger
from btard.statemachine.compute import PartCheck
from tests.ledger.runs import played

ATTACKS = {1: "withhold_reveal@2:phase=reveal", 2: "equivocate@2:phase=reduce", 6: "slander@3:kind=scalars"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    played(folder, ATTACKS)
    return folder


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    shutil.copytree(run / "p0", tmp_path / "p0")
    return tmp_path / "p0"


@pytest.fixture
def opened(copy: Path) -> Iterator[Ledger]:
    ledger = Ledger.open(copy)
    yield ledger
    ledger.close()


@pytest.mark.shows("OPS-11", "OPS-13")
def test_the_list(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ledger", str(run / "p0"), "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {(row["peer"], row["kind"], row["rule"]) for row in rows} == {
        (1, "remove", "STP-3"),
        (2, "ban", "MSG-5"),
        (6, "ban", "VER-6"),
    }
    assert main(["ledger", str(run / "p4"), "--json"]) == 0
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == rows


def test_the_table(run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for width in (60, 80, 120):
        monkeypatch.setenv("COLUMNS", str(width))
        assert main(["ledger", str(run / "p0")]) == 0
        printed = capsys.readouterr().out
        assert all(word in printed for word in ("3 of 8 peers are out", "MSG-5", "p1", "removed", "banned"))
        table = printed.splitlines()[1:-2]
        assert max(map(len, table)) <= width
        assert all(line == line.rstrip() for line in table)


@pytest.mark.shows("OPS-12", "OPS-14")
@pytest.mark.parametrize(
    ("peer", "marks", "words"),
    [
        ("p1", ["holds", "attested"], "did not get its REVEAL of step 2 in time"),
        (
            "2",
            ["holds", "holds"],
            "signed two different messages where there is to be one, its REDUCE of step 2",
        ),
        ("p6", ["holds"] * 4, "voted that this is false"),
    ],
)
def test_why(run: Path, peer: str, marks: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["why", peer, str(run / "p3")]) == 0
    printed = capsys.readouterr().out
    assert words in " ".join(printed.split())
    assert [line.split()[0] for line in printed.splitlines() if line[:2] == "  " and line[2] != " "] == marks


@pytest.mark.parametrize(
    ("peer", "words"),
    [("zoe", "there is no peer 'zoe'"), ("99", "there is no peer"), ("p0", "is neither removed")],
)
def test_nobody_to_explain(run: Path, peer: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["why", peer, str(run / "p0")]) == 1
    printed, errors = capsys.readouterr()
    assert printed == ""
    assert words in errors


def entry_of(ledger: Ledger, peer: int) -> Entry:
    return next(entry for entry in ledger.entries() if entry.peer == peer)


def replace(ledger: Ledger, entry: Entry) -> None:
    """Write a row as somebody would who can compute checksums."""
    ledger._put(b"entry", entry.key, entry.to_bytes())


def fails(folder: Path, peer: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["why", peer, str(folder)]) == 1
    printed = " ".join(capsys.readouterr().out.split())
    assert f"FAILS {words}" in printed
    assert printed.endswith("The evidence does NOT hold.")


@pytest.mark.refuses("OPS-14")
def test_a_forged_signature(opened: Ledger, copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    entry = entry_of(opened, 2)
    assert entry.proof is not None
    first, second = entry.proof.envelopes
    forged = evolve(entry.proof, envelopes=(first, evolve(second, signature=bytes(64))))
    replace(opened, evolve(entry, proof=forged))
    fails(copy, "p2", "the equivocation evidence does not prove it", capsys)


@pytest.mark.refuses("OPS-14")
def test_a_removal_told_as_a_ban(opened: Ledger, copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    replace(opened, evolve(entry_of(opened, 1), kind="ban"))
    fails(copy, "p1", "the record that ends epoch", capsys)


@pytest.mark.refuses("OPS-14")
def test_records_that_a_minority_signed(opened: Ledger, copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    opened.put_decision(0, opened.decisions()[0][:4])
    fails(copy, "p2", "no record that ends epoch 0 is signed by a quorum", capsys)


@pytest.mark.refuses("OPS-12", "OPS-14")
def test_another_judgement_than_was_signed(
    opened: Ledger, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (judgement,) = opened.judgements()
    check = judgement.request.check
    assert isinstance(check, PartCheck)
    norms = (bytes(8), *check.norms[1:])
    changed = evolve(judgement, request=evolve(judgement.request, check=evolve(check, norms=norms)))
    opened.put_judgement(changed)
    fails(copy, "p6", "what was judged is not what the members signed", capsys)


def test_messages_that_are_missing(opened: Ledger, copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (judgement,) = opened.judgements()
    opened.put_judgement(evolve(judgement, envelopes=()))
    assert main(["why", "p6", str(copy)]) == 0
    assert "this peer vouches for it" in capsys.readouterr().out


def test_a_task_that_cannot_be_loaded(copy: Path, opened: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    opened._put(b"meta", b"base", str(copy).encode())
    assert main(["why", "p6", str(copy)]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert (
        "attested the verdict was not computed again, it rests on the votes: there is no task file" in printed
    )


def test_a_vector_that_is_missing(copy: Path, opened: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    (judgement,) = opened.judgements()
    for name in judgement.objects:
        (copy / "ledger-objects" / name.hex()).unlink()
    assert main(["why", "p6", str(copy)]) == 1
    assert "cannot read" in capsys.readouterr().err


def test_judgements_come_back_as_they_were(opened: Ledger) -> None:
    (judgement,) = opened.judgements()
    assert Judgement.from_bytes(judgement.to_bytes()) == judgement


# -- a ledger that was lost -----------------------------------------------------------------------------------


@pytest.mark.shows("OPS-20")
@pytest.mark.refuses("OPS-20")
def test_a_ledger_that_was_lost_does_not_say_that_nobody_is_out(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = Ledger.open(run / "p0")
    genesis = before.meta(b"genesis").decode()
    Ledger.create(tmp_path, before.meta(b"run"), genesis, "", Begins(2, 7)).close()
    before.close()
    assert main(["ledger", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "this ledger is NOT complete: it is complete only from step 7 of epoch 2 on" in printed
    assert "nobody is out" not in printed
    assert "all 8 peers are members" not in printed
    assert main(["ledger", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"complete_from": {"epoch": 2, "step": 7}}
    assert main(["why", "p1", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert "does not say whether p1 is out: it is complete only from step 7 of epoch 2 on" in error
    assert error.count("\n") == 1


@pytest.mark.shows("OPS-20")
def test_what_a_ledger_holds_in_spite_of_that_is_explained(
    opened: Ledger, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    opened.begin_again(Begins(2, 7))
    assert main(["ledger", str(copy)]) == 0
    printed = capsys.readouterr().out
    assert "this ledger is NOT complete" in printed
    assert "3 of 8 peers are out" in printed
    assert main(["why", "p6", str(copy)]) == 0
    assert "This ledger is NOT complete" in capsys.readouterr().out


@pytest.mark.shows("OPS-11", "OPS-14")
def test_who_stopped_on_a_proof_against_itself_can_have_it_explained(
    opened: Ledger, copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The record that bans it does not come there; the proof speaks for itself."""
    (folder := tmp_path / "p2").mkdir()
    ledger = Ledger.create(folder, opened.meta(b"run"), opened.meta(b"genesis").decode(), "")
    ledger.put_entry(entry_of(opened, 2))
    ledger.close()
    assert main(["why", "p2", str(folder)]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "attested this peer stopped before the record that ends epoch 0 came here" in printed
    assert "holds the evidence proves it: both signatures hold" in printed
