"""A peer that comes back needs nobody to serve it a second time (spec OPS-17, OPS-18, OPS-21)."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import pytest
from attrs import evolve

from btard.attacks.forging import forge
from btard.statemachine import effects as fx
from btard.statemachine.compute import Verify
from btard.statemachine.messages import Accuse, Claim, ClaimKind, Commit, Envelope, Reduce, Vote, phase_slot
from btard.statemachine.table import Phase
from btard.wire import WireError, decode_frame, encode_frame
from btard_transports.offers import MAX_SERVINGS
from fuzz.world import timing
from tests.node.returns import RUN as RUN_ID
from tests.node.returns import Mortal, Returns

PEERS: Final = 5
RUN: Final = {"validators": 0, "f_max": 2}


def refuse(*cheats: int) -> Callable[[Returns], None]:
    """These serve peer 0 nothing any more, and stay clean otherwise."""

    def to_whom(owner: int, requester: int, _: bytes, data: bytes) -> list[tuple[float, bytes]]:
        return [] if owner in cheats and requester == 0 else [(0.0, data)]

    def meanwhile(returns: Returns) -> None:
        returns.network.bulk_filter = to_whom

    return meanwhile


def die(*peers: int) -> Callable[[Returns], None]:
    """These are gone for good."""

    def meanwhile(returns: Returns) -> None:
        for peer in peers:
            returns.kill(peer)

    return meanwhile


MEANWHILE: Final[Mapping[str, tuple[Callable[[Returns], None], tuple[int, ...]]]] = {
    "one serves nothing again": (refuse(3), ()),
    "two serve nothing again": (refuse(3, 4), ()),
    "one dies in the same instant": (die(3), (3,)),
}


def crash(folder: Path, number: int, name: str, peers: int = PEERS) -> fx.Effect | None:
    """Crash before this effect, come back at once while this happens, and finish: peer 0 keeps its place."""
    meanwhile, out = MEANWHILE[name]
    home = folder / f"{number}"
    home.mkdir()
    returns = Returns(home, peers, steps=3, seed=number, changes=RUN)
    effect = returns.crash_at(0, number)
    if effect is not None:
        meanwhile(returns)
        if returns.start(0).recovery is None and out:
            returns.close()
            return effect  # it had signed nothing yet, so this is a start, and that takes all peers
        returns.run()
    roster = returns.nodes[0].state.roster
    assert set(range(peers)) - set(roster) <= set(out), f"crash before effect {number}"
    returns.check_one_history(*(peer for peer in out if peer not in roster))
    returns.close()
    shutil.rmtree(home)
    return effect


@pytest.mark.shows("OPS-5", "OPS-17", "STP-3")
@pytest.mark.parametrize("name", MEANWHILE)
def test_who_comes_back_needs_nobody_to_serve_it_again(tmp_path: Path, name: str) -> None:
    """Some crashes; `python -m tests.node.test_served_once` crashes before every single effect."""
    for number in range(100, 160, 7):  # the parts of step 1 are here, and it goes on to the end
        assert crash(tmp_path, number, name) is not None


def fetched_again(returns: Returns) -> list[bytes]:
    """Note what peer 0 is served from now on that had come to it before."""
    before = {bulk.digest for bulk in returns.nodes[0].state.held}
    again = []

    def note(_: int, requester: int, name: bytes, data: bytes) -> list[tuple[float, bytes]]:
        if requester == 0 and name in before:
            again.append(name)
        return [(0.0, data)]

    returns.network.bulk_filter = note
    return again


@pytest.mark.shows("OPS-18")
@pytest.mark.parametrize(("damage", "objects"), [("nothing", 0), ("a bit", 2), ("the end", 1)])
def test_what_is_damaged_is_fetched_again_and_nothing_else(tmp_path: Path, damage: str, objects: int) -> None:
    """Without one of its inputs, the first in the file, the own aggregate is fetched as well."""
    returns = Returns(tmp_path, PEERS, changes=RUN)
    returns.run(lambda: place(returns) == (1, Phase.VALIDATE))
    again = fetched_again(returns)
    returns.kill(0)
    (path,) = tmp_path.glob("p0/*.objects-1-*")
    data = bytearray(path.read_bytes())
    if damage == "a bit":
        data[50] ^= 1
    path.write_bytes(data[:-1] if damage == "the end" else data)
    returns.start(0)
    returns.run()
    returns.check_finished()
    assert len(set(again)) == objects
    returns.close()


@pytest.mark.shows("OPS-17", "NET-9")
@pytest.mark.parametrize("phase", [Phase.REDUCE, Phase.REVEAL])
def test_who_crashes_time_and_again_in_one_step_needs_few_servings(tmp_path: Path, phase: Phase) -> None:
    """Also in REDUCE, where what came is on disk, and the journal does not know that yet."""
    # A process that comes so soon after another is answered after a quarter of a second.
    returns = Returns(tmp_path, PEERS, changes=RUN, timing=timing().with_absence(1000 * MAX_SERVINGS))
    returns.run(lambda: place(returns) == (1, Phase.COMMIT))
    if phase is Phase.REDUCE:
        returns.lost_bodies = Reduce  # else it goes on
    returns.run(lambda: place(returns) == (1, phase))
    for _ in range(2 * MAX_SERVINGS):
        returns.run(lambda: len(parts_here(returns.nodes[0])) == PEERS - 1)
        assert returns.nodes[0].state.at.number == 1
        returns.kill(0)
        returns.start(0)
    returns.lost_bodies = ()
    returns.run()
    returns.check_finished()
    returns.close()


def place(returns: Returns) -> tuple[int, Phase]:
    """Where peer 0 is."""
    state = returns.nodes[0].state
    return state.at.number, state.phase


def parts_here(peer: Mortal) -> list[bytes]:
    """The others' parts of the own aggregate that this process has."""
    state = peer.state
    part, step = state.at.aggregators.index(peer.config.me), state.at.number
    commits = [state.slots[phase_slot(0, step, Phase.COMMIT, other)].message for other in range(1, PEERS)]
    names = [commit.body.parts[part] for commit in commits if commit and isinstance(commit.body, Commit)]
    held = {bulk.digest for bulk in state.held}
    return [name for name in names if name in held and peer.backend.store.data(name) is not None]


@pytest.mark.refuses("OPS-17")
def test_without_room_for_what_came_nothing_that_rests_on_it_is_sent(tmp_path: Path) -> None:
    """It has a place again once there is room."""
    returns = Returns(tmp_path, PEERS, changes=RUN)
    returns.run(lambda: place(returns) == (1, Phase.REDUCE))
    full = tmp_path / "p0" / f"journal-{RUN_ID.hex()[:16]}.objects-1-1"
    full.unlink(missing_ok=True)
    full.symlink_to("/dev/full")
    returns.run(lambda: returns.nodes[0].over)
    assert "cannot keep what other peers served in" in str(returns.nodes[0].failure)
    assert "No space left on device; make room on the disk" in str(returns.nodes[0].failure)
    assert (0, phase_slot(0, 1, Phase.REDUCE, 0)) not in returns.signed
    returns.kill(0)
    full.unlink()
    returns.start(0)
    returns.run()
    returns.check_finished()
    returns.close()


@pytest.mark.shows("OPS-21")
@pytest.mark.refuses("OPS-21")
def test_a_check_that_lacks_an_object_holds_up_no_verdict_and_no_later_epoch(tmp_path: Path) -> None:
    """What was kept is gone, and peer 3 serves it no second time, nor does it vote: peer 0's vote is needed."""
    returns = Returns(tmp_path, PEERS, changes=RUN)
    claims: list[Envelope] = []

    def carried(sender: int, receiver: int, frame: bytes) -> list[tuple[float, bytes]]:
        try:
            decoded = decode_frame(frame, PEERS)
        except WireError:
            return [(0.0, frame)]
        body = decoded.message.body if isinstance(decoded, Envelope) and decoded.message else None
        if sender == 4 and isinstance(body, Accuse) and body.step == 1:
            claims.append(false_claim(returns, body))
            return [(0.0, encode_frame(claims[0]))]
        return [] if 3 in (sender, receiver) and isinstance(body, Vote) else [(0.0, frame)]

    returns.network.filter = carried
    returns.run(lambda: place(returns) == (1, Phase.ACCUSE))
    assert any(isinstance(request, Verify) for request in returns.nodes[0].outstanding.computing)
    returns.kill(0)
    for path in tmp_path.glob("p0/*.objects-1-*"):
        path.unlink()
    refuse(3)(returns)
    peer = returns.start(0)
    returns.run()
    assert claims
    assert peer.recovery is None
    returns.check_one_history(4)
    assert [(out["peer"], out["rule"]) for out in returns.logs[1].of("expelled")] == [(4, "VER-6")]
    returns.close()


def false_claim(returns: Returns, accuse: Accuse) -> Envelope:
    """Peer 4's claim on peer 1, in place of its `ok`; it serves what that rests on."""
    state, config = returns.nodes[4].state, returns.nodes[4].config
    part = state.at.aggregators.index(4)
    committed = state.slots[phase_slot(0, 1, Phase.COMMIT, 1)].message
    assert committed is not None
    assert isinstance(committed.body, Commit)
    claim = Claim(ClaimKind.SCALARS, 1, part, committed.body.parts[part])
    returns.nodes[4].perform(fx.Offer(claim.object, None))
    return forge(config, 0, evolve(accuse, claim=claim))


if __name__ == "__main__":
    import itertools
    import sys
    import tempfile

    first, stride = (int(argument) for argument in [*sys.argv[1:], "0", "1"][:2])
    for name in MEANWHILE:
        with tempfile.TemporaryDirectory() as scratch:
            crashes = 0
            for number in itertools.count(first, stride):
                if crash(Path(scratch), number, name) is None:
                    break
                crashes += 1
            print(f"{name}: {crashes} crashes, all came back", flush=True)
