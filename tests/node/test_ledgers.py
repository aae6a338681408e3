"""Ledgers that crashes, damage and the end of a peer leave: equal where they can be, never silently less."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import pytest

from btard.disk import ADVICE
from btard.ledger.entry import Begins
from btard.ledger.errors import LedgerError
from btard.ledger.file import FILE, Ledger
from btard.ledger.proof import canonical, order, shown
from btard.node.bookkeeping import keep_ledger
from btard.node.journal import Journal, JournalError, journal_path
from btard.statemachine.messages import Evidence, EvidenceKind, Reduce
from btard.wire import encode_frame
from fuzz.byzantine import forge
from tests.node.cluster import key
from tests.node.damage import envelope, held
from tests.node.returns import RUN, Returns
from tests.node.upheavals import LAST, UPHEAVALS

STEPS = 6


def banned(folder: Path) -> Returns:
    """A run of four peers that has just banned the last one, and goes on."""
    returns = Returns(folder, 4, STEPS, seed=1)
    returns.run(lambda: all(peer.state.at.number == 1 for peer in returns.nodes.values()))
    UPHEAVALS["a cheat is banned"].bring_about(returns)
    returns.run(lambda: all(returns.nodes[me].state.epoch == 1 for me in range(LAST)))
    return returns


def lesser_proof(returns: Returns) -> Evidence:
    """A proof against the cheat that goes before the one that all ledgers hold."""
    signed = [forge(returns.nodes[LAST].config, 0, Reduce(1, bytes(32), bytes([i]) * 32)) for i in range(8)]
    proofs = [Evidence(EvidenceKind.EQUIVOCATION, LAST, pair) for pair in combinations(signed, 2)]
    least = min((canonical(proof, 3) for proof in proofs), key=order)
    (entry,) = returns.nodes[0].ledger.entries()
    assert entry.proof is not None
    assert order(least) < order(entry.proof)
    return least


@pytest.mark.shows("OPS-13")
def test_a_proof_that_goes_round_while_a_peer_is_away_reaches_it(tmp_path: Path) -> None:
    returns = banned(tmp_path)
    least = lesser_proof(returns)
    returns.kill(0)
    returns.nodes[1].on_control(2, encode_frame(shown(0, "ban", least)))
    returns.run(lambda: returns.nodes[2].ledger.entries()[0].proof == least)
    returns.start(0)
    returns.run()
    returns.check_one_history(LAST)
    returns.close()


@pytest.mark.shows("OPS-13")
def test_a_proof_entered_right_before_a_crash_reaches_the_others(tmp_path: Path) -> None:
    returns = banned(tmp_path)
    peer = returns.nodes[0]
    peer._recorder.received(peer.state, 2, shown(0, "ban", lesser_proof(returns)))
    returns.kill(0)
    returns.start(0)
    returns.run()
    returns.check_one_history(LAST)
    returns.close()


# -- lost and damaged -----------------------------------------------------------------------------------------


def _emptied(path: Path) -> None:
    path.write_bytes(b"")


def _flipped(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"entry", b"Entry"))


def _a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.shows("OPS-19", "OPS-20")
@pytest.mark.refuses("OPS-19")
@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (Path.unlink, "is gone or empty"),
        (_emptied, "is gone or empty"),
        (_flipped, f"it is kept as {FILE}.damaged-1"),
        (_a_folder, "goes on with a ledger in memory"),
    ],
)
def test_without_its_ledger_a_peer_comes_back_and_says_so(
    tmp_path: Path, harm: Callable[[Path], None], words: str
) -> None:
    returns = banned(tmp_path)
    returns.kill(0)
    harm(tmp_path / "p0" / FILE)
    peer, log = returns.start(0), returns.logs[0]
    (error,) = log.of("error")
    assert words in error["reason"]
    assert "\n" not in error["reason"]
    assert peer.ledger.begins() == Begins(1, peer.state.at.number)
    returns.run()
    returns.check_one_history(LAST)  # what the journal knows was entered again
    returns.kill(0)
    if harm is not _a_folder:
        again = returns.start(0)
        assert returns.logs[0].of("error") == []
        assert again.ledger.begins() == peer_begins(tmp_path)
    returns.close()


def peer_begins(folder: Path) -> Begins | None:
    """What the file itself says."""
    ledger = Ledger.open(folder / "p0")
    try:
        return ledger.begins()
    finally:
        ledger.close()


@pytest.mark.shows("OPS-20")
def test_a_ledger_that_could_not_be_written_for_a_while_says_so(tmp_path: Path) -> None:
    """What was decided meanwhile is in the journal; the file is right, and lacks it."""
    returns = Returns(tmp_path, 4, STEPS, seed=1)
    returns.run(lambda: all(peer.state.at.number == 1 for peer in returns.nodes.values()))
    before = (tmp_path / "p0" / FILE).read_bytes()
    UPHEAVALS["a cheat is banned"].bring_about(returns)
    returns.run(lambda: all(returns.nodes[me].state.epoch == 1 for me in range(LAST)))
    returns.kill(0)
    (tmp_path / "p0" / FILE).write_bytes(before)
    peer = returns.start(0)
    assert "lacks what ended epochs [0]" in returns.logs[0].of("error")[0]["reason"]
    assert peer.ledger.begins() == Begins(1, peer.state.at.number)
    returns.run()
    returns.check_one_history(LAST)
    returns.close()


# -- files as a disk leaves them ------------------------------------------------------------------------------


def journal_in(folder: Path, signatures: int) -> Journal:
    journal = Journal(journal_path(folder, RUN), RUN, key(0).sign_public)
    for step in range(signatures):
        journal.record(held(step))
        journal.sign(envelope(step))
    journal.flush()
    return journal


@pytest.mark.refuses("OPS-15", "OPS-19", "OPS-20")
@pytest.mark.parametrize("signatures", [0, 2])
def test_whatever_is_cut_off_is_noticed_when_a_peer_starts(tmp_path: Path, signatures: int) -> None:
    """Either all is there, or the damage is told; an honest peer goes on in any case."""
    Ledger.create(tmp_path, RUN, "text", "base").close()
    whole = (tmp_path / FILE).read_bytes()
    journal = journal_in(tmp_path, signatures)
    journal.saved = None
    for size in range(len(whole)):
        (tmp_path / FILE).write_bytes(whole[:size])
        told = list[str]()
        ledger = keep_ledger(tmp_path, RUN, "text", "base", journal, told.append)
        begins = ledger.begins()
        ledger.close()
        aside = tmp_path / f"{FILE}.damaged-1"
        if not told:
            # What a page does not use at its end may be missing; and before a peer signs, nothing is lost.
            assert begins is None
            assert size > len(whole) - 512 or (size, signatures) == (0, 0)
            continue
        assert len(told) == 1
        assert (begins is not None) == (signatures > 0)
        assert aside.exists() == (size > 0)
        if size:
            assert aside.read_bytes() == whole[:size]
            aside.unlink()
    journal.close()


@pytest.mark.refuses("OPS-19")
def test_damaged_files_are_all_kept(tmp_path: Path) -> None:
    journal = journal_in(tmp_path, 2)
    for number in range(1, 4):
        (tmp_path / FILE).write_bytes(b"garbage" * number)
        keep_ledger(tmp_path, RUN, "text", "base", journal, lambda _: None).close()
        assert (tmp_path / f"{FILE}.damaged-{number}").read_bytes() == b"garbage" * number
    journal.close()


def test_before_it_has_signed_anything_a_peer_needs_a_ledger(tmp_path: Path) -> None:
    (tmp_path / FILE).mkdir()
    journal = journal_in(tmp_path, 0)
    with pytest.raises(LedgerError, match=rf"the ledger .*: unable to open database file; {ADVICE}$"):
        keep_ledger(tmp_path, RUN, "text", "base", journal, pytest.fail)
    journal.close()


# -- who is out itself ----------------------------------------------------------------------------------------


def cut_off(folder: Path) -> Returns:
    """A run of four peers in which the last, which keeps a journal, was cut off for too long."""
    returns = Returns(folder, 4, 40, seed=1, kept=frozenset({LAST}))
    returns.run(lambda: all(peer.state.at.number == 1 for peer in returns.nodes.values()))
    returns.lost = lambda sender, receiver: (sender == LAST) != (receiver == LAST)
    returns.run(lambda: all(returns.nodes[me].state.epoch == 1 for me in range(LAST)))
    return returns


@pytest.mark.shows("OPS-8", "OPS-11")
@pytest.mark.refuses("OPS-8")
def test_who_was_told_that_it_is_out_knows_it_at_once_when_it_is_started_again(tmp_path: Path) -> None:
    returns = cut_off(tmp_path)
    returns.lost = lambda sender, receiver: False
    out = returns.nodes[LAST]
    returns.run(lambda: out.over)
    assert "without this peer: it is removed, not banned" in str(out.failure)
    entries = out.ledger.entries()
    assert [(entry.epoch, entry.peer, entry.kind) for entry in entries] == [(0, LAST, "remove")]
    assert entries[0].proof is not None  # it stands for lateness; the others may hold another of these
    assert out.ledger.decisions().keys() == returns.nodes[0].ledger.decisions().keys()
    returns.kill(LAST)
    again = returns.start(LAST)
    assert again.failure == out.failure
    assert again.over
    assert again.ledger.entries() == entries
    returns.close()


@pytest.mark.shows("OPS-8")
def test_a_full_disk_does_not_hide_why_a_peer_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(journal: Journal) -> None:
        raise JournalError("the disk is full")

    returns = cut_off(tmp_path)
    out, log = returns.nodes[LAST], returns.logs[LAST]
    returns.lost = lambda sender, receiver: False
    returns.run(lambda: bool(out.state.evidence.get(LAST)))
    monkeypatch.setattr(Journal, "flush", full)
    returns.run(lambda: out.over)
    assert "without this peer" in str(out.failure)
    assert "the disk is full" in log.of("error")[0]["reason"]
    returns.close()


# -- who is back ----------------------------------------------------------------------------------------------


def test_a_process_that_only_says_hello_is_not_told_to_be_back(tmp_path: Path) -> None:
    returns = Returns(tmp_path, 4)
    returns.run(lambda: returns.nodes[0].state.at.number == 1)
    returns.kill(0)
    returns.lost = lambda sender, receiver: receiver == 0
    first = returns.start(0)
    now = returns.network.now
    returns.run(lambda: returns.network.now > now + 1)
    assert not first.started
    returns.kill(0)
    assert returns.logs[1].of("came_back") == []
    returns.lost = lambda sender, receiver: False
    returns.start(0)
    returns.run()
    returns.check_finished()
    assert [entry["peer"] for entry in returns.logs[1].of("came_back")] == [0]
    returns.close()
