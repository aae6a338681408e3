"""STAY: halted members go on together, whatever else was signed at the epoch's end (spec AGR-23, AGR-26)."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import evolve

from btard.statemachine.config import faults, quorum
from btard.statemachine.effects import Judgement, Verdict
from btard.statemachine.ending import (
    bound,
    endings,
    epoch_records,
    given_up,
    signers,
    stays_of,
)
from btard.statemachine.halting import own_record
from btard.statemachine.messages import Envelope, Epoch, Evidence, EvidenceKind, Stay
from btard.statemachine.ratify import too_few
from btard.statemachine.settle import note_evidence
from btard.statemachine.state import State
from btard.statemachine.table import Phase
from btard.statemachine.turn import Turn


def give_up(turn: Turn, without: Iterable[int]) -> None:
    """Give up these members, as the operator says (spec AGR-26)."""
    halted = turn.state.halted
    if turn.state.phase is Phase.HALTED and halted is not None:
        turn.set(halted=evolve(halted, without=halted.without.union(without).intersection(turn.others())))


def stay(turn: Turn) -> bool:
    """Sign STAY when that is due, or the outcome that a peer who was away follows; say whether it signed."""
    state = turn.state
    if state.phase is not Phase.HALTED:
        return False
    if (followed := _followed(turn)) is not None:
        turn.sign(followed)
        return True
    members, gone = state.roster, given_up(state)
    staying = tuple(peer for peer in members if peer not in gone)
    if (state.stayed is not None and state.stayed.roster == staying) or (
        gone and too_few(turn.config, staying)
    ):
        return False
    unready = any(not_ready(state, peer) for peer in staying if peer != turn.me)
    if unready or _may_come_about(turn):
        return False
    first = state.stayed is None and own_record(turn) is None
    record = Stay(state.following, state.view, staying, first)
    envelope = turn.sign(record)
    turn.set(stayed=record, stays=turn.state.stays.insert((turn.me, turn.me), envelope))
    return True


def not_ready(state: State, peer: int) -> str | None:
    """Say what keeps a member from going on from this peer's next step; None if nothing does.

    It is to be halted before this very step, and the record that it signed, if it did, here (spec AGR-23).
    """
    poll, step = state.polls.get(peer), state.following
    if poll is None:
        return "has not said that it is halted"
    if poll.next_step != step:
        return f"is before step {poll.next_step}, not before step {step}"
    if poll.record and poll.record not in [envelope.hash for envelope in epoch_records(state, peer)]:
        return "signed an outcome that is not here"
    return None


def _may_come_about(turn: Turn) -> bool:
    """Whether an outcome is enough, or those that were away can make it so, as they will (spec AGR-25)."""
    state = turn.state
    away = {peer for peer, poll in state.polls.items() if poll.away} - given_up(state)
    for ending, envelopes in endings(state).items():
        if ending.together or bound(state, turn.me, ending):
            continue
        signed = signers(ending, envelopes).keys()
        followed = len(signed) > faults(len(state.roster))
        if followed and len(signed | (away & set(ending.roster))) >= quorum(len(state.roster)):
            return True
    return False


def _followed(turn: Turn) -> Epoch | None:
    """Return what f+1 members signed, if this peer halted on coming back: one is honest (spec AGR-25)."""
    state = turn.state
    if state.halted is None or not state.halted.away or state.stayed or own_record(turn):
        return None
    for ending, envelopes in endings(state).items():
        if ending.together or turn.me not in ending.roster:
            continue
        if len(signers(ending, envelopes)) > faults(len(state.roster)):
            return Epoch(ending.next_step, ending.view, ending.bans, ending.roster)
    return None


def keep_stay(turn: Turn, sender: int, envelope: Envelope, record: Stay) -> Judgement:
    """Keep a STAY that can count here, at most one for each author and sender (spec AGR-20).

    What a member says itself comes again with each poll, so of what does not fit here the smaller roster is
    kept: an honest member gives up more and more.
    """
    if abs(record.next_step - turn.state.following) > 1:
        return Judgement(Verdict.IGNORE, "no honest peer stands there", "AGR-22")
    for other in stays_of(turn.state, envelope.author):
        if _roster(other) == record.roster and other.hash != envelope.hash:
            note_evidence(turn, Evidence(EvidenceKind.EQUIVOCATION, envelope.author, (other, envelope)))
            return Judgement(Verdict.REJECT, "a second message for its slot", "MSG-5")
    known = turn.state.stays.get((envelope.author, sender))
    if known is not None and len(_roster(known)) <= len(record.roster):
        return Judgement(Verdict.IGNORE, "known, or it has given up more already", "AGR-26")
    turn.set(stays=turn.state.stays.insert((envelope.author, sender), envelope))
    return Judgement(Verdict.ACCEPT, "filed")


def _roster(envelope: Envelope) -> tuple[int, ...]:
    body = envelope.message.body if envelope.message else None
    return body.roster if isinstance(body, Stay) else ()
