"""What becomes of an incoming message: accept, defer, ignore or reject (spec MSG-8)."""

from __future__ import annotations

from btard.statemachine.adoption import receive_explanation
from btard.statemachine.config import quorum
from btard.statemachine.delivery import fetch_bulk, phase_body
from btard.statemachine.effects import Judgement, Verdict
from btard.statemachine.evidence import opening_fails, signature_holds
from btard.statemachine.form import malformed
from btard.statemachine.halting import ask, receive_poll
from btard.statemachine.messages import (
    Body,
    Chain,
    Commit,
    Enter,
    Envelope,
    Epoch,
    Evidence,
    EvidenceKind,
    Frame,
    Late,
    Message,
    Need,
    NoVerdict,
    Poll,
    Publish,
    Pull,
    Stay,
    Vote,
    also_signed,
    phase_slot,
)
from btard.statemachine.needs import heed, needed
from btard.statemachine.phases import is_accusation
from btard.statemachine.pulls import (
    answer_earlier_lates,
    answer_late,
    lates_like,
    pull_later,
    pull_where_views_differ,
    serve_pull,
)
from btard.statemachine.settle import note_evidence, receive_chain
from btard.statemachine.staying import keep_stay
from btard.statemachine.table import STEP_PHASES, Phase
from btard.statemachine.turn import Turn

MAX_DEFERRED_CHAINS = 64
"""Chains of the next epoch kept per sender; an honest peer sends fewer before its fellows enter it."""

MAX_DEFERRED_OWN = 2
"""Own messages of the next epoch kept per sender: before its fellows enter it, COMMIT or ENTER is all."""


def receive(turn: Turn, sender: int, frame: Frame) -> None:
    """Judge a frame and act on it; exactly one verdict comes of each (spec MSG-8)."""
    match frame:
        case Pull() | Chain() | Envelope() if sender not in turn.state.roster:
            judgement = Judgement(Verdict.IGNORE, "its sender is no member: it may only ask", "NET-3")
        case Pull():
            judgement = serve_pull(turn, sender, frame)
        case Poll():
            judgement = receive_poll(turn, sender, frame)
        case Chain() | Envelope() if _epoch_of(frame) == turn.state.epoch + 1:
            if turn.state.phase in (*STEP_PHASES, Phase.DONE):
                ask(turn, sender)  # it did not wait for this peer to freeze
            judgement = _defer(turn, sender, frame)
        case Chain() if frame.epoch < turn.state.epoch:
            judgement = receive_explanation(turn, frame)
        case Chain():
            judgement = receive_chain(turn, frame)
        case Envelope():
            judgement = _receive_envelope(turn, sender, frame)
    turn.emit(judgement)


def _epoch_of(frame: Chain | Envelope) -> int | None:
    if isinstance(frame, Chain):
        return frame.epoch
    return frame.message.epoch if frame.message else None


def _defer(turn: Turn, sender: int, frame: Chain | Envelope) -> Judgement:
    """Keep what belongs to the next epoch, a bounded number per sender (spec AGR-4).

    What an honest peer passes on for others is none of it, so a cheat cannot use up an honest peer's number.
    """
    if isinstance(frame, Envelope) and not _opens_epoch(sender, frame):
        return Judgement(Verdict.IGNORE, "no honest peer is that far", "AGR-4")
    if (sender, frame) in turn.state.deferred:
        return Judgement(Verdict.IGNORE, "known")
    alike = [kept for origin, kept in turn.state.deferred if origin == sender and type(kept) is type(frame)]
    if len(alike) >= (MAX_DEFERRED_CHAINS if isinstance(frame, Chain) else MAX_DEFERRED_OWN):
        return Judgement(Verdict.IGNORE, "too many frames of the next epoch", "AGR-4")
    turn.set(deferred=(*turn.state.deferred, (sender, frame)))
    return Judgement(Verdict.DEFER, "of the next epoch")


def _opens_epoch(sender: int, envelope: Envelope) -> bool:
    """Whether this is what a peer itself sends first in an epoch: COMMIT, or ENTER after the last step."""
    body = envelope.message.body if envelope.message else None
    return envelope.author == sender and isinstance(body, Commit | Enter)


def _receive_envelope(turn: Turn, sender: int, envelope: Envelope) -> Judgement:
    state = turn.state
    if envelope.author not in state.roster or envelope.author == turn.me:
        return Judgement(Verdict.IGNORE, f"peer {envelope.author} is no other member")
    message = envelope.message
    if message is not None:
        known = state.slots.get(message.slot)
        if known is not None and known.hash == envelope.hash:
            fetch_bulk(turn, sender, known)  # a second source for what the first did not send
            return Judgement(Verdict.IGNORE, "known")
    if not signature_holds(turn.config, envelope):
        return Judgement(Verdict.REJECT, "signature does not hold for this run", "MSG-2")
    if message is not None and message.epoch > state.epoch:
        return Judgement(Verdict.IGNORE, "no honest peer is that far", "AGR-4")
    if message is None or malformed(
        turn.config.parameters,
        turn.config.peers,
        state.rosters[message.epoch],
        envelope.author,
        message.body,
    ):
        note_evidence(turn, Evidence(EvidenceKind.MALFORMED, envelope.author, (envelope,)))
        return Judgement(Verdict.REJECT, "malformed", "MSG-3")
    if message.epoch != state.epoch:
        return Judgement(Verdict.IGNORE, "of another epoch")
    known = state.slots.get(message.slot)
    if known is not None:
        if isinstance(message.body, Epoch):  # it may be the one that others count (spec AGR-15)
            turn.set(slots=state.slots.insert(also_signed(message.slot, sender), envelope))
        note_evidence(turn, Evidence(EvidenceKind.EQUIVOCATION, envelope.author, (known, envelope)))
        return Judgement(Verdict.REJECT, "a second message for its slot", "MSG-5")
    return _file(turn, sender, envelope, message)


def position_of(body: Body) -> int | None:
    """Return the position among all phases at which a message has its place; None for EPOCH and STAY."""
    match body:
        case Epoch() | Stay():
            return None
        case Enter():
            return 5 * body.step + body.entered
        case Late():
            return 5 * body.step + body.late_phase
        case Need() | Publish():  # for a NEED, parts are published in REDUCE
            return 5 * body.step + int(Phase.REDUCE)
        case Vote() | NoVerdict():
            return 5 * body.step + int(Phase.ACCUSE)
    return 5 * body.step + int(body.phase)


def _file(turn: Turn, sender: int, envelope: Envelope, message: Message) -> Judgement:
    state, position = turn.state, position_of(message.body)
    if isinstance(message.body, Stay):
        return keep_stay(turn, sender, envelope, message.body)
    if position is not None:
        if state.phase in (Phase.SETTLE, Phase.RATIFY, Phase.HALTED):
            if isinstance(message.body, Late) and state.phase is Phase.SETTLE:
                turn.set(slots=state.slots.insert(message.slot, envelope))
                return Judgement(Verdict.ACCEPT, "counted by the brake", "AGR-24")
            return Judgement(Verdict.IGNORE, "the epoch is frozen", "AGR-11")
        if position > state.position + 1:
            return Judgement(Verdict.IGNORE, "no honest peer is that far", "AGR-4")
        if position < 5 * (state.at.number - 1):
            return Judgement(Verdict.IGNORE, "long past")
        if isinstance(message.body, Late) and not _can_be_late(turn, message.body, position):
            return Judgement(Verdict.IGNORE, "no honest peer can miss that now", "AGR-7")
    turn.set(slots=state.slots.insert(message.slot, envelope))
    _react(turn, sender, envelope, message)
    if position is not None and position > state.position:
        return Judgement(Verdict.DEFER, "of the next phase")
    return Judgement(Verdict.ACCEPT, "filed")


def _can_be_late(turn: Turn, late: Late, position: int) -> bool:
    """Whether an honest peer can be missing this: honest peers are at most one phase apart (spec AGR-7)."""
    if late.part < 0:
        return position >= turn.state.position - 1
    if (late.step, late.late_phase) != (turn.at.number, turn.state.phase):
        return False
    if turn.state.phase is Phase.REDUCE:
        return late.subject in needed(turn, late.part)
    return late.part in turn.at.disputed and late.subject in turn.at.contributors


def _react(turn: Turn, sender: int, envelope: Envelope, message: Message) -> None:
    state, body = turn.state, message.body
    if phase_body(envelope) is not None:
        _react_to_phase_message(turn, sender, envelope)
    match body:
        case Enter():
            if position_of(body) == state.position + 1:
                pull_later(turn, envelope.author)
        case Need() if body.step == state.at.number:
            heed(turn, envelope.author, sender)
        case Publish():
            fetch_bulk(turn, sender, envelope)
            answer_earlier_lates(turn, message.slot)
        case Late():
            answer_late(turn, envelope, body)
            late_quorum(turn, body)


def _react_to_phase_message(turn: Turn, sender: int, envelope: Envelope) -> None:
    state, body = turn.state, phase_body(envelope)
    if body is None:
        return
    position = position_of(body)
    fetch_bulk(turn, sender, envelope)
    committed = state.slots.get(phase_slot(state.epoch, body.step, Phase.COMMIT, envelope.author))
    if committed is not None and opening_fails(turn.config, committed, envelope):
        note_evidence(turn, Evidence(EvidenceKind.OPENING, envelope.author, (committed, envelope)))
    if position == state.position + 1:
        pull_later(turn, envelope.author)
    elif position == state.position:
        pull_where_views_differ(turn)
    if is_accusation(envelope):
        _relay(turn, sender, envelope)
    answer_earlier_lates(turn, phase_slot(state.epoch, body.step, body.phase, envelope.author))


def _relay(turn: Turn, sender: int, envelope: Envelope) -> None:
    """Pass a message on to everybody else on first receipt (spec AGR-8, VER-13)."""
    turn.send(envelope, tuple(peer for peer in turn.others() if peer not in (sender, envelope.author)))


def late_quorum(turn: Turn, late: Late) -> None:
    """Turn a quorum of LATEs on one slot into evidence (spec AGR-9)."""
    envelopes = lates_like(turn.state, late)
    if len(envelopes) >= quorum(len(turn.state.roster)):
        note_evidence(turn, Evidence(EvidenceKind.LATE, late.subject, tuple(envelopes)))
