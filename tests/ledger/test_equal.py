"""Whatever proofs a cheat shows to whom, honest peers come to hold the same ledger (spec OPS-13)."""

from __future__ import annotations

from collections import deque
from itertools import combinations

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from btard.ledger.entry import Begins, Entry
from btard.ledger.file import Ledger
from btard.ledger.proof import canonical, order, shown
from btard.ledger.recorder import MAX_PASSED, MAX_TRIED, Recorder
from btard.statemachine import effects as fx
from btard.statemachine.config import Config
from btard.statemachine.events import Event
from btard.statemachine.handle import initial
from btard.statemachine.messages import (
    Chain,
    Epoch,
    Evidence,
    EvidenceKind,
    Frame,
    GuiltyClass,
    Late,
    Reduce,
    Reveal,
)
from btard.statemachine.state import Passage, State
from btard.statemachine.table import Phase
from fuzz.byzantine import forge
from fuzz.world import World, configs

CONFIGS = configs(4)
CHEAT, HONEST = 3, (0, 1, 2)
SIGNED = [forge(CONFIGS[CHEAT], 0, Reduce(2, bytes(32), bytes([i]) * 32)) for i in range(4)]
PROOFS = [Evidence(EvidenceKind.EQUIVOCATION, CHEAT, pair) for pair in combinations(SIGNED, 2)]
STATE = evolve(initial(CONFIGS[0]), epoch=1, rosters=((0, 1, 2, 3), (0, 1, 2)))


class Group:
    """The recorders of the honest peers, and what they send to each other."""

    def __init__(self) -> None:
        self.queue: deque[tuple[int, int, Frame]] = deque()
        self.frames = 0
        self.told: list[str] = []
        self.ledgers = [Ledger.create(None, CONFIGS[0].run, "", "") for _ in HONEST]
        self.recorders = [self._recorder(CONFIGS[peer], self.ledgers[peer]) for peer in HONEST]

    def _recorder(self, config: Config, ledger: Ledger) -> Recorder:
        def send(frame: Frame, to: tuple[int, ...]) -> None:
            self.frames += 1
            self.queue.extend((config.me, peer, frame) for peer in to)

        return Recorder(config, ledger, send, pytest.fail)

    def restart(self, peer: int, state: State = STATE) -> None:
        """What a crash leaves of a peer's recorder is its ledger; frames that were on their way are lost."""
        self.queue = deque(frame for frame in self.queue if peer not in frame[:2])
        self.recorders[peer] = self._recorder(CONFIGS[peer], self.ledgers[peer])
        self.recorders[peer].warn = self.told.append
        self.recorders[peer].restore(state)

    def settle(self, state: State = STATE) -> None:
        while self.queue:
            sender, peer, frame = self.queue.popleft()
            assert isinstance(frame, Chain)
            self.recorders[peer].received(state, sender, frame)

    def expel(self, peer: int, proof: Evidence, kind: str = "ban") -> None:
        effect = fx.Expelled(CHEAT, 2, "MSG-5", kind, "", 0, 0, proof)
        self.recorders[peer].follow(STATE, effect)

    def close(self) -> list[bytes]:
        exports = [ledger.export() for ledger in self.ledgers]
        for ledger in self.ledgers:
            ledger.close()
        return exports


@pytest.mark.shows("OPS-11", "OPS-13")
@given(
    found=st.lists(st.sampled_from(PROOFS), min_size=3, max_size=3),
    more=st.lists(st.tuples(st.sampled_from(HONEST), st.sampled_from(PROOFS)), max_size=6),
)
def test_the_least_proof_is_in_all_ledgers(found: list[Evidence], more: list[tuple[int, Evidence]]) -> None:
    group = Group()
    for peer, proof in zip(HONEST, found, strict=True):
        group.expel(peer, proof)
    for peer, proof in more:
        chain = shown(0, "ban", proof)
        group.recorders[peer].received(STATE, (peer + 1) % 3, chain)
    group.settle()
    entries = [ledger.entries() for ledger in group.ledgers]
    exports = group.close()
    assert len(set(exports)) == 1
    least = min([*found, *(proof for _, proof in more)], key=lambda proof: order(canonical(proof, 3)))
    assert entries[0][0].proof == canonical(least, 3)


@pytest.mark.shows("OPS-13")
def test_what_came_before_the_decision_counts() -> None:
    before = evolve(STATE, epoch=0, rosters=STATE.rosters[:1])
    least, other = sorted(PROOFS, key=lambda proof: order(canonical(proof, 3)))[:2]
    group = Group()
    signed = Chain(0, GuiltyClass("ban", CHEAT), least, ((1, bytes(64)),))
    group.recorders[0].received(before, 1, signed)
    group.expel(0, other)
    proof = group.ledgers[0].entries()[0].proof
    group.close()
    assert proof == canonical(least, 3)


ORDERED = sorted(PROOFS, key=lambda proof: order(canonical(proof, 3)))
DECIDED = evolve(STATE, passages=STATE.passages.insert(0, Passage((), None, ())))


@pytest.mark.shows("OPS-13")
def test_a_proof_that_goes_round_after_a_restart_is_in_all_ledgers() -> None:
    group = Group()
    for peer in HONEST:
        group.expel(peer, ORDERED[-1])
    group.settle()
    group.restart(0, DECIDED)
    group.recorders[1].received(STATE, 2, shown(0, "ban", ORDERED[0]))
    group.settle()
    assert len(set(group.close())) == 1


@pytest.mark.shows("OPS-13")
def test_a_proof_seen_before_a_restart_and_the_decision_counts() -> None:
    before = evolve(STATE, epoch=0, rosters=STATE.rosters[:1])
    group = Group()
    chain = Chain(0, GuiltyClass("ban", CHEAT), ORDERED[0], ((1, bytes(64)),))
    group.recorders[0].received(before, 1, chain)
    group.restart(0, before)
    group.expel(0, ORDERED[-1])
    proof = group.ledgers[0].entries()[0].proof
    group.close()
    assert proof == canonical(ORDERED[0], 3)


@pytest.mark.shows("OPS-13")
def test_a_proof_that_a_crash_kept_from_the_others_is_shown_after_it() -> None:
    group = Group()
    for peer in HONEST:
        group.expel(peer, ORDERED[-1])
    group.settle()
    group.recorders[0].received(STATE, 1, shown(0, "ban", ORDERED[0]))
    group.restart(0, DECIDED)
    group.settle()
    assert len(set(group.close())) == 1


@pytest.mark.shows("OPS-13")
def test_who_comes_back_is_shown_what_went_round_meanwhile() -> None:
    group = Group()
    for peer in HONEST:
        group.expel(peer, ORDERED[-1])
    group.settle()
    group.recorders[1].received(STATE, 2, shown(0, "ban", ORDERED[0]))
    group.restart(0, DECIDED)
    group.settle()
    for proof in group.recorders[1].proofs(STATE):
        group.recorders[0].received(STATE, 1, proof)
    group.settle()
    assert len(set(group.close())) == 1


@pytest.mark.shows("OPS-20")
def test_what_a_lost_ledger_held_of_the_journal_is_entered_again() -> None:
    """The records and proofs of former epochs are in the journal's state; the ledger says what it lacks."""
    record = Epoch(2, bytes(32), (CHEAT,), HONEST)
    signed = tuple(forge(CONFIGS[peer], 0, record) for peer in HONEST)
    guilty = Chain(0, GuiltyClass("ban", CHEAT), PROOFS[0], ())
    state = evolve(STATE, passages=STATE.passages.insert(0, Passage(signed, None, (guilty,))))
    group = Group()
    group.restart(0, state)
    ledger = group.ledgers[0]
    assert ledger.entries() == [Entry(0, CHEAT, "ban", canonical(PROOFS[0], 3))]
    assert ledger.decisions() == {0: signed}
    assert ledger.begins() == Begins(1, 0)
    assert group.told == ["the ledger lacks what ended epochs [0]: what the journal knows is entered again"]
    group.restart(0, evolve(state, at=evolve(state.at, number=7)))
    assert ledger.begins() == Begins(1, 0)
    assert len(group.told) == 1
    group.close()


class Recorded(World):
    """A world whose peer 0 has a recorder."""

    recorder: Recorder

    def note(self, peer: int, event: Event, effects: tuple[fx.Effect, ...]) -> None:
        super().note(peer, event, effects)
        for effect in effects if peer == 0 else ():
            self.recorder.follow(self.states[0], effect)


@pytest.mark.shows("OPS-12")
def test_messages_that_judges_need_are_remembered_after_a_restart() -> None:
    """Those of the last step and the openings of the one before it are in the state that the journal gives."""
    ledger = Ledger.create(None, CONFIGS[0].run, "", "")
    before, after = (Recorder(CONFIGS[0], ledger, lambda *_: None, pytest.fail) for _ in range(2))
    world = Recorded(CONFIGS, seed=1)
    world.recorder = before
    world.run(lambda: (world.states[0].at.number, world.states[0].phase) == (3, Phase.VALIDATE))
    after.restore(world.states[0])
    ledger.close()
    assert before._certified.keys() == after._certified.keys() == {1, 2}
    assert set(before._certified[2]) == set(after._certified[2])
    assert set(before._openings(1)) == set(after._openings(1))
    assert len(before._openings(1)) == len(CONFIGS)


@pytest.mark.refuses("OPS-13")
def test_a_cheat_with_many_proofs_costs_a_bounded_number_of_frames_and_looks() -> None:
    looks = 0

    def counting(key: bytes, content: bytes, signature: bytes) -> bool:
        nonlocal looks
        looks += 1
        return CONFIGS[0].verify(key, content, signature)

    signed = [forge(CONFIGS[CHEAT], 0, Reduce(2, bytes(32), bytes([i]) * 32)) for i in range(40)]
    proofs = [Evidence(EvidenceKind.EQUIVOCATION, CHEAT, pair) for pair in combinations(signed, 2)]
    proofs.sort(key=lambda proof: order(canonical(proof, 3)), reverse=True)
    group = Group()
    group.recorders[0].config = evolve(CONFIGS[0], verify=counting)
    group.expel(0, proofs[0])
    for proof in proofs[1:]:
        group.recorders[0].received(STATE, 1, shown(0, "ban", proof))
    group.close()
    assert group.frames <= MAX_PASSED
    assert 0 < looks <= 2 * MAX_TRIED


def late(author: int) -> Evidence:
    envelopes = tuple(forge(CONFIGS[peer], 0, Late(2, 1, CHEAT, -1)) for peer in (author, author))
    return Evidence(EvidenceKind.LATE, CHEAT, envelopes)


@pytest.mark.refuses("OPS-11", "OPS-13")
@pytest.mark.parametrize(
    "proof",
    [
        Evidence(EvidenceKind.EQUIVOCATION, CHEAT, (SIGNED[0], evolve(SIGNED[1], signature=bytes(64)))),
        Evidence(EvidenceKind.EQUIVOCATION, CHEAT, (SIGNED[0], SIGNED[0])),
        Evidence(EvidenceKind.EQUIVOCATION, CHEAT, ()),
        Evidence(EvidenceKind.OPENING, CHEAT, (SIGNED[0], forge(CONFIGS[3], 0, Reveal(2, *[bytes(32)] * 3)))),
        late(0),
        Evidence(EvidenceKind.EQUIVOCATION, 1, (SIGNED[0], SIGNED[1])),
        Evidence(EvidenceKind.VERDICT, 700, (SIGNED[0], SIGNED[1])),
    ],
)
def test_what_proves_nothing_changes_no_ledger(proof: Evidence) -> None:
    group = Group()
    worst = max(PROOFS, key=lambda proof: order(canonical(proof, 3)))
    group.expel(0, worst)
    before = group.ledgers[0].export()
    for epoch in (0, 1, 2, 900):
        group.recorders[0].received(STATE, 1, shown(epoch, "ban", proof))
        group.recorders[0].received(STATE, 77, shown(epoch, "ban", proof))
    after = group.ledgers[0].export()
    group.close()
    assert before == after


def test_who_saw_no_proof_enters_what_the_others_agreed_on() -> None:
    group = Group()
    group.recorders[0].follow(STATE, fx.RosterChanged(1, (0, 1, 2), ()))
    assert [(e.peer, e.kind, e.proof) for e in group.ledgers[0].entries()] == [(CHEAT, "remove", None)]
    group.recorders[0].received(STATE, 1, shown(0, "remove", PROOFS[0]))
    (entry,) = group.ledgers[0].entries()
    group.close()
    assert entry.proof == canonical(PROOFS[0], 3)
