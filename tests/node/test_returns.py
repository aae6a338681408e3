"""A peer that is killed and started again goes on where it was, and signs nothing twice."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path

import pytest

from btard.ledger.recorder import Recorder
from btard.node import peer as peer_module
from btard.node.journal import Journal, JournalError, journal_path
from btard.statemachine import effects as fx
from btard.statemachine.messages import Chain, Envelope, Evidence, EvidenceKind, GuiltyClass, Poll
from btard.statemachine.state import State
from btard.statemachine.table import Phase
from btard.wire import encode_frame
from tests.node.returns import RUN, Returns
from tests.node.upheavals import PHASES, UPHEAVALS, Upheaval


def all_crashes(folder: Path, peers: int, first: int, stride: int) -> list[fx.Effect]:
    """Crash before every `stride`-th effect of a run in turn, come back, and finish; return those effects."""
    crashes = []
    for number in range(first, 10_000, stride):
        home = folder / f"{number}"
        home.mkdir()
        returns = Returns(home, peers, seed=number)
        effect = returns.crash_at(0, number)
        if effect is not None:
            crashes.append(effect)
            returns.start(0)
            returns.run()
        returns.check_finished()
        returns.close()
        shutil.rmtree(home)
        if effect is None:
            break
    return crashes


@pytest.mark.shows("OPS-5", "OPS-22")
@pytest.mark.parametrize("events", [1, 7])
def test_a_journal_begun_anew_in_the_middle_of_a_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, events: int
) -> None:
    """Where it stands, and what is under way, is all that a peer has to know."""
    monkeypatch.setattr(peer_module, "MAX_EVENTS", events)
    assert len(all_crashes(tmp_path, 4, 3 + events, 41)) >= 5


@pytest.mark.shows("OPS-22")
@pytest.mark.refuses("OPS-22")
def test_a_journal_does_not_grow_however_long_a_peer_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer_module, "MAX_EVENTS", 50)
    with closing(Returns(tmp_path, 4, seed=1)) as returns:
        peer = returns.nodes[0]
        returns.run(lambda: peer.state.at.number == 2)
        assert peer.journal is not None
        for _ in range(200):
            peer.on_control(3, encode_frame(Poll(0, 1, int(Phase.COMMIT))))
            peer.on_timer(("answered", 3))
            assert peer.journal.events <= 50
        returns.run()


@pytest.mark.shows("MSG-5", "MSG-7", "OPS-4", "OPS-5")
@pytest.mark.parametrize(("peers", "first"), [(3, 5), (4, 2)])
def test_a_crash_between_any_two_effects(tmp_path: Path, peers: int, first: int) -> None:
    """Some of them; `python -m tests.node.test_returns PEERS` crashes before every single one."""
    crashes = all_crashes(tmp_path, peers, first, 31)
    assert len(crashes) > 4


# -- while others are put out, or links are broken ------------------------------------------------------------


def begun(folder: Path, upheaval: Upheaval) -> Returns:
    """A run of four peers in step 1, and what is to happen has begun."""
    folder.mkdir()
    returns = Returns(folder, 4, seed=1)
    returns.run(lambda: all(peer.state.at.number == 1 for peer in returns.nodes.values()))
    upheaval.bring_about(returns)
    return returns


def places(folder: Path, upheaval: Upheaval) -> dict[Phase, list[int]]:
    """The effects of peer 0 in such a run, by their numbers, in the phases in which a step does not go on."""
    returns = begun(folder / "whole", upheaval)
    peer = returns.nodes[0]
    returns.run()
    returns.check_one_history(*upheaval.out)
    assert peer.state.epoch > 0
    returns.close()
    return {phase: [at for at, found in enumerate(peer.phases) if found is phase] for phase in PHASES}


def crash(folder: Path, upheaval: Upheaval, number: int) -> None:
    """Crash before this effect, come back at once, and finish: with one history."""
    returns = begun(folder / f"{number}", upheaval)
    assert returns.crash_at(0, number) is not None
    returns.start(0)
    returns.run()
    returns.check_one_history(*upheaval.out)
    returns.close()
    shutil.rmtree(folder / f"{number}")


@pytest.mark.shows("MSG-5", "MSG-7", "OPS-4", "OPS-5", "AGR-20", "AGR-25")
@pytest.mark.parametrize("name", UPHEAVALS)
def test_a_crash_between_any_two_effects_of_an_agreement_or_a_halt(tmp_path: Path, name: str) -> None:
    """Some of them; `python -m tests.node.test_returns` crashes before every single one."""
    upheaval = UPHEAVALS[name]
    found = places(tmp_path, upheaval)
    assert {phase for phase in found if found[phase]} >= upheaval.phases
    for phase in upheaval.phases:
        for number in found[phase][:: max(1, len(found[phase]) // 2)]:
            crash(tmp_path, upheaval, number)


@pytest.mark.shows("MSG-7", "OPS-13")
def test_a_proof_is_shown_when_what_it_holds_is_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger is written first; what it shows others of that may hold what was signed a moment ago."""
    returns, log = Returns(tmp_path), list[str]()
    peer = returns.nodes[0]
    chain = Chain(0, GuiltyClass("guilty", 1), Evidence(EvidenceKind.LATE, 1, ()), ())
    sign, flush, follow = Journal.sign, Journal.flush, Recorder.follow

    def signed(journal: Journal, envelope: Envelope) -> None:
        log.append("sign")
        sign(journal, envelope)

    def flushed(journal: Journal) -> None:
        log.append("flush")
        flush(journal)

    def shows(recorder: Recorder, state: State, effect: fx.Effect) -> None:
        if recorder.config.me == 0 and isinstance(effect, fx.Persist) and not log:
            recorder.send(chain, (1,))
        follow(recorder, state, effect)

    def carried(sender: int, _: int, frame: bytes) -> list[tuple[float, bytes]]:
        if sender == 0 and frame == encode_frame(chain):
            log.append("show")
        return [(0.0, frame)]

    monkeypatch.setattr(Journal, "sign", signed)
    monkeypatch.setattr(Journal, "flush", flushed)
    monkeypatch.setattr(Recorder, "follow", shows)
    returns.network.filter = carried
    returns.run(lambda: "show" in log)
    assert log[0] == "sign"
    assert log[log.index("show") - 1] == "flush"
    assert peer.failure is None
    returns.close()


@pytest.mark.shows("OPS-5", "OPS-6")
def test_all_peers_are_killed_at_once_and_come_back(tmp_path: Path) -> None:
    """Objects are nowhere any more: parts and aggregates are computed again, from the model before them."""
    everybody = frozenset(range(4))
    for number in range(70, 200, 29):
        (home := tmp_path / f"{number}").mkdir()
        returns = Returns(home, 4, kept=everybody, seed=number)
        assert returns.crash_at(0, number) is not None
        for peer in everybody - {0}:
            returns.kill(peer)
        for peer in everybody:
            returns.start(peer)
        returns.run()
        returns.check_finished()
        returns.close()


@pytest.mark.shows("OPS-5")
def test_a_peer_may_come_back_again_and_again(tmp_path: Path) -> None:
    returns = Returns(tmp_path, 3, steps=6)
    crashes = 0
    while returns.crash_at(0, 300) is not None:
        crashes += 1
        returns.start(0)
    assert crashes > 1
    returns.check_finished()
    returns.close()


# -- what must not be signed --------------------------------------------------------------------------------


@pytest.mark.refuses("MSG-9", "OPS-4")
@pytest.mark.parametrize("older", [True, False])
def test_with_an_older_journal_or_none_nothing_is_signed(tmp_path: Path, older: bool) -> None:
    returns = Returns(tmp_path, 4)
    returns.run(lambda: returns.nodes[0].state.at.number == 1)
    home, kept = tmp_path / "p0", tmp_path / "kept"
    returns.kill(0)
    shutil.copytree(home, kept)
    returns.start(0)
    returns.run(lambda: returns.nodes[0].state.at.number == 2)
    returns.kill(0)
    shutil.rmtree(home)
    if older:
        shutil.copytree(kept, home)
    before = len([None for author, _ in returns.signed if author == 0])
    peer = returns.start(0)
    returns.run(lambda: peer.over)
    assert peer.failure is not None
    assert "a message that the journal in this folder does not hold" in peer.failure
    assert "start it with the folder in which it ran last (--out)" in peer.failure
    assert len([None for author, _ in returns.signed if author == 0]) == before
    assert not peer.started
    returns.close()


@pytest.mark.shows("MSG-9")
def test_what_another_key_signed_does_not_stop_a_peer(tmp_path: Path) -> None:
    from attrs import evolve

    from btard.wire import encode_frame
    from tests.node.damage import envelope

    returns = Returns(tmp_path, 3)
    returns.run(lambda: returns.nodes[0].state.at.number == 1)
    peer = returns.nodes[0]
    peer.on_control(1, encode_frame(evolve(envelope(7), signature=bytes(64))))
    returns.run()
    returns.check_finished()
    returns.close()


@pytest.mark.refuses("OPS-4")
def test_a_peer_goes_on_only_when_so_many_have_answered_that_one_is_honest(tmp_path: Path) -> None:
    """Of four peers, two others have to answer; it says whom it waits for, without end."""
    returns = Returns(tmp_path, 4)
    returns.run(lambda: returns.nodes[0].state.at.number == 1)
    returns.kill(0)
    returns.lost = lambda sender, receiver: {sender, receiver} in ({0, 2}, {0, 3})
    peer, log = returns.start(0), returns.logs[0]
    now = returns.network.now
    returns.run(lambda: returns.network.now > now + 2)
    assert [entry["peer"] for entry in log.of("joined")] == [1]
    assert not peer.started
    returns.lost = lambda sender, receiver: False
    returns.run()
    returns.check_finished()
    returns.close()


@pytest.mark.refuses("OPS-6")
def test_who_computes_something_else_than_before_signs_nothing_more(tmp_path: Path) -> None:
    returns = Returns(tmp_path, 4)
    returns.run(lambda: returns.nodes[0].state.at.number == 1 and returns.nodes[0].state.phase is Phase.REDUCE)
    returns.kill(0)
    peer = returns.start(0)
    peer.backend.present = b"bad memory"
    returns.run(lambda: peer.over)
    assert "'prepare' came out other than before this peer went away" in str(peer.failure)
    returns.close()


@pytest.mark.refuses("OPS-6")
def test_without_its_model_a_peer_does_not_go_on(tmp_path: Path) -> None:
    returns = Returns(tmp_path, 4, steps=3)
    returns.run(lambda: returns.nodes[0].state.at.number == 3 and returns.nodes[0].state.phase is Phase.REDUCE)
    returns.kill(0)
    for path in (tmp_path / "p0").glob("*.model*"):
        path.write_bytes(path.read_bytes()[:-1])
    peer = returns.start(0)
    returns.run(lambda: peer.over)
    assert "the model before step 3 is not on disk as the journal knows it" in str(peer.failure)
    returns.close()


# -- the rest -----------------------------------------------------------------------------------------------


@pytest.mark.shows("OPS-8")
def test_a_finished_run_has_nothing_left_to_do(tmp_path: Path) -> None:
    returns = Returns(tmp_path, 3)
    returns.run()
    returns.kill(0)
    peer = returns.start(0)
    assert peer.over
    assert peer.failure is None
    returns.close()


@pytest.mark.refuses("OPS-2")
def test_two_processes_do_not_share_a_journal(tmp_path: Path) -> None:
    returns = Returns(tmp_path, 3)
    assert journal_path(tmp_path / "p0", RUN).exists()
    with pytest.raises(JournalError, match="is in use by another process: stop that one"):
        returns.start(0)
    returns.close()


if __name__ == "__main__":
    import sys
    import tempfile

    with tempfile.TemporaryDirectory() as scratch:
        if sys.argv[1:]:
            print(len(all_crashes(Path(scratch), int(sys.argv[1]), 0, 1)), "crashes, all came back")
        for name, upheaval in UPHEAVALS.items() if not sys.argv[1:] else ():
            (home := Path(scratch) / name).mkdir()
            for phase, numbers in places(home, upheaval).items():
                for number in numbers:
                    crash(home, upheaval, number)
                print(f"{name}: {len(numbers)} crashes in {phase.name}, all came back", flush=True)
