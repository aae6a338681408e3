"""Entering the next epoch on a record that enough members signed, from anywhere (spec AGR-15, AGR-16)."""

from __future__ import annotations

from collections import defaultdict

from attrs import evolve
from rpds import HashTrieMap

from btard.hashing import digest
from btard.statemachine import effects as fx
from btard.statemachine.catching_up import catch_up
from btard.statemachine.config import faults, quorum
from btard.statemachine.effects import Judgement, Verdict
from btard.statemachine.evidence import BANNING, proves, rule_broken
from btard.statemachine.halting import halt, without_signatures
from btard.statemachine.leaving import tell_who_is_out
from btard.statemachine.messages import (
    Chain,
    Envelope,
    Epoch,
    Evidence,
    GuiltyClass,
    Poll,
    SlotKey,
    also_signed,
)
from btard.statemachine.phases import begin_step
from btard.statemachine.ratify import too_few
from btard.statemachine.settle import tell_expelled
from btard.statemachine.state import Halt, Passage
from btard.statemachine.table import Phase, Trigger
from btard.statemachine.turn import Turn

ASKED_FOR_REASON = 8
"""Polls after which a peer that is left behind no longer waits to hear why: links take a while to be back."""


def enter_epoch(turn: Turn) -> bool:
    """Enter the next epoch when enough members signed one record; say whether anything moved (spec AGR-15)."""
    state = turn.state
    signed = {record: _counted(record, envelopes) for record, envelopes in _signed(turn).items()}
    decided = [record for record, envelopes in signed.items() if len(envelopes) >= _needed(turn, record)]
    if not decided or state.phase is Phase.STOPPED:
        return False
    record = state.outcome if state.outcome in decided else decided[0]
    if record is None or (turn.me not in record.roster and "finished" in turn.at.asked):
        return False  # the others may well go on: this peer has what it came for
    if turn.me not in record.roster:
        return _left_behind(turn, record)
    if not catch_up(turn, record):
        return turn.state.phase is Phase.STOPPED
    for envelope in signed[record]:
        if envelope.author != turn.me:
            turn.send(envelope, tuple(peer for peer in turn.others() if peer != envelope.author))
    _start_epoch(turn, record, tuple(signed[record]))
    return True


def _needed(turn: Turn, record: Epoch) -> int:
    """Return how many members have to sign: all of them what leaves all of them in (spec AGR-23)."""
    members = len(turn.state.roster)
    return members if record.roster == turn.state.roster else quorum(members)


def _counted(record: Epoch, envelopes: list[Envelope]) -> list[Envelope]:
    """Return the signatures of those whom the record leaves in: who is out does not decide (spec AGR-15)."""
    return [envelope for envelope in envelopes if envelope.author in record.roster]


def _signed(turn: Turn) -> dict[Epoch, list[Envelope]]:
    """Return who signed which EPOCH record: a cheat may sign several, and others count each (spec AGR-15)."""
    state, found = turn.state, defaultdict(list)
    for author in state.roster:
        slot: SlotKey = ("epoch", state.epoch, author)
        if slot not in state.slots:
            continue
        keys = (slot, *(also_signed(slot, sender) for sender in state.roster))
        envelopes = [state.slots[key] for key in keys if key in state.slots]
        bodies = {env.message.body: env for env in envelopes if env.message}
        for body, envelope in bodies.items():
            if isinstance(body, Epoch):
                found[body].append(envelope)
    return found


def _left_behind(turn: Turn, record: Epoch) -> bool:
    """Say that the others go on without this peer, and why, once they have had the time to tell."""
    evidence, halted = turn.state.evidence.get(turn.me), turn.state.halted
    words = f"the others went on from step {record.next_step} without this peer"
    if evidence is not None:
        rule, reason = rule_broken(evidence)
        words += f": it is removed, not banned, since {reason} ({rule}); check its links and its load"
    elif halted is None or halted.asked is None:
        halt(turn, f"{words}; it asks them why")
        turn.set(halted=evolve(turn.state.halted or Halt(words), asked=0))
        return False
    elif halted.asked < ASKED_FOR_REASON:
        return False
    tell_who_is_out(turn, record, tuple(_counted(record, _signed(turn)[record])))
    turn.stop(words)
    return True


# -- the new epoch --------------------------------------------------------------------------------------


def _start_epoch(turn: Turn, record: Epoch, signed: tuple[Envelope, ...]) -> None:
    state = turn.state
    guilty = _report(turn, record)
    certificate = Chain(state.epoch, *state.certificate, ()) if state.certificate else None
    opening = digest(
        "epoch",
        (state.epoch + 1).to_bytes(8, "little"),
        record.next_step.to_bytes(8, "little"),
        record.view,
        *(peer.to_bytes(4, "little") for peer in record.roster),
    )
    explained = {chain.klass.peer for chain in guilty if isinstance(chain.klass, GuiltyClass)}
    turn.set(
        epoch=state.epoch + 1,
        rosters=(*state.rosters, record.roster),
        first_step=record.next_step,
        opening=opening,
        certificate=None,
        banned=tuple(sorted({*state.banned, *record.bans})),
        evidence=_evidence_left(turn, record),
        settle=None,
        outcome=None,
        halted=None,
        polls=type(state.polls)(),
        passages=state.passages.insert(state.epoch, Passage(signed, certificate, guilty)),
        before=None,
        unexplained=(state.unexplained | set(state.roster)) - set(record.roster) - explained,
        reports=(),
        waiting=type(state.waiting)(),
    )
    turn.emit(fx.RosterChanged(state.epoch + 1, record.roster, signed))
    turn.timer(turn.config.timing.t_commit // 2, "remind", state.epoch + 1)
    begin_step(turn, record.next_step, (), Trigger.RECORD, Trigger.RECORD_AFTER_LAST)
    if turn.state.phase is not Phase.DONE and (reason := too_few(turn.config, record.roster)):
        turn.stop(reason)


def _evidence_left(turn: Turn, record: Epoch) -> HashTrieMap[int, Evidence]:
    """Return what freezes the new epoch at once: after a halt, as times did not hold, nothing late (AGR-16)."""
    state, left = turn.state, turn.state.evidence
    if turn.me in left:
        left = left.remove(turn.me)
    if state.phase is not Phase.HALTED:
        return left
    accepted = state.settle.accepted.values() if state.settle else ()
    proofs = [*left.values(), *(chain.object for chain in accepted)]
    evidence = [proof for proof in proofs if isinstance(proof, Evidence) and proof.subject in record.roster]
    banning = [proof for proof in evidence if proof.kind in BANNING]
    return HashTrieMap({proof.subject: proof for proof in reversed(banning)})


def _report(turn: Turn, record: Epoch) -> tuple[Chain, ...]:
    """Report who is out, by which rule, and return what shows it (spec AGR-10)."""
    accepted = turn.state.settle.accepted if turn.state.settle else {}
    shown = []
    for peer in sorted(set(turn.state.roster) - set(record.roster)):
        kind = "ban" if peer in record.bans else "remove"
        chain = accepted.get(GuiltyClass("ban" if kind == "ban" else "guilty", peer))
        if chain is not None and isinstance(chain.object, Evidence):
            tell_expelled(turn, peer, kind, chain.object)
            shown.append(without_signatures(chain))
    return tuple(shown)


def receive_explanation(turn: Turn, chain: Chain) -> Judgement:
    """Learn why a member of an epoch that is over lost its place, if this peer was away (spec AGR-20)."""
    state, evidence = turn.state, chain.object
    if not isinstance(evidence, Evidence) or evidence.subject not in state.unexplained:
        return Judgement(Verdict.IGNORE, "chain of another epoch")
    if chain.epoch not in state.passages or evidence.subject in state.rosters[chain.epoch + 1]:
        return Judgement(Verdict.IGNORE, "chain of another epoch")
    bans = evidence.subject in state.banned
    if not proves(turn.config, state, evidence) or (bans and evidence.kind not in BANNING):
        return Judgement(Verdict.REJECT, "its evidence proves nothing", "AGR-13")
    passage = state.passages[chain.epoch]
    shown = Passage(passage.records, passage.certificate, (*passage.guilty, without_signatures(chain)))
    turn.set(
        unexplained=state.unexplained - {evidence.subject},
        passages=state.passages.insert(chain.epoch, shown),
    )
    tell_expelled(turn, evidence.subject, "ban" if bans else "remove", evidence, chain.epoch)
    return Judgement(Verdict.ACCEPT, "why a former member is out")


# -- healing --------------------------------------------------------------------------------------------


def heal(turn: Turn) -> bool:
    """Sign that all go on as they are, once all say that they are halted after this very step (spec AGR-23).

    All but those whom the operator has named to be given up (spec AGR-26).
    """
    state = turn.state
    if state.phase is not Phase.HALTED or ("epoch", state.epoch, turn.me) in state.slots:
        return False
    named = state.halted.without if state.halted else frozenset()
    if (followed := _followed(turn, named)) is not None:
        turn.sign(followed)
        return True
    alike = Poll(state.epoch, state.following, int(Phase.HALTED))
    staying = tuple(peer for peer in state.roster if peer not in named)
    waiting = any(state.polls.get(peer) != alike for peer in staying if peer != turn.me)
    if waiting or too_few(turn.config, staying):
        return False
    record = Epoch(state.following, state.view, (), staying)
    if not named and any(other != record for other in _signed(turn)):
        return False  # what another member signed already can still come about
    turn.sign(record)
    return True


def _followed(turn: Turn, named: frozenset[int]) -> Epoch | None:
    """Return what f+1 members signed, if this peer was away or may give up whom it leaves out: one is honest.

    Spec AGR-25, AGR-26.
    """
    state = turn.state
    for record, envelopes in _signed(turn).items():
        out = set(state.roster) - set(record.roster)
        enough = len(_counted(record, envelopes)) > faults(len(state.roster))
        here = (record.next_step, record.view) == (state.following, state.view)
        bears = state.came_back is not None or (here and out <= named)
        if enough and bears and out and turn.me not in out:
            return record
    return None
