"""Whatever proofs a cheat shows to whom, honest peers come to hold the same ledger (spec OPS-13)."""

from __future__ import annotations

from collections import deque
from itertools import combinations

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from btard.ledger.file import Ledger
from btard.ledger.proof import canonical, order, shown
from btard.ledger.recorder import MAX_PASSED, MAX_TRIED, Recorder
from btard.statemachine import effects as fx
from btard.statemachine.config import Config
from btard.statemachine.handle import initial
from btard.statemachine.messages import Chain, Evidence, EvidenceKind, Frame, GuiltyClass, Late, Reduce, Reveal
from btard.statemachine.state import State
from fuzz.byzantine import forge
from fuzz.world import configs

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
        self.ledgers = [Ledger.create(None, CONFIGS[0].run, "", "") for _ in HONEST]
        self.recorders = [self._recorder(CONFIGS[peer], self.ledgers[peer]) for peer in HONEST]

    def _recorder(self, config: Config, ledger: Ledger) -> Recorder:
        def send(frame: Frame, to: tuple[int, ...]) -> None:
            self.frames += 1
            self.queue.extend((config.me, peer, frame) for peer in to)

        return Recorder(config, ledger, send, pytest.fail)

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
