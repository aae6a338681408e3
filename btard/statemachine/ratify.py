"""The outcome of SETTLE and the next epoch (spec AGR-14 to AGR-16)."""

from __future__ import annotations

from collections import Counter

from attrs import evolve

from btard.hashing import digest
from btard.statemachine import effects as fx
from btard.statemachine.config import faults, quorum
from btard.statemachine.messages import (
    Body,
    Certificate,
    CommitClass,
    Envelope,
    Epoch,
    Evidence,
    GuiltyClass,
    SlotKey,
    also_signed,
)
from btard.statemachine.phases import begin_step, certify
from btard.statemachine.roles import last_number
from btard.statemachine.settle import tell_expelled
from btard.statemachine.table import Phase, Trigger
from btard.statemachine.turn import Turn


def round_over(turn: Turn, number: int) -> None:
    """Count a round; the last one fixes the outcome (spec AGR-14)."""
    settle = turn.state.settle
    if settle is None or turn.state.phase is not Phase.SETTLE or number != settle.rounds + 1:
        return
    turn.set(settle=evolve(settle, rounds=number))
    if number < faults(len(turn.state.roster)) + 1:
        return
    for klass, chain in settle.accepted.items():
        current = isinstance(klass, CommitClass) and klass.step == turn.at.number
        if current and isinstance(chain.object, Certificate):  # the others applied this step, so must I
            certify(turn, chain.object)


def outcome_due(turn: Turn) -> None:
    """Note that everybody has had the time to apply the outcome's step (spec AGR-14)."""
    if turn.state.settle is not None:
        turn.set(settle=evolve(turn.state.settle, due=True))


def ratify(turn: Turn) -> bool:
    """Sign the outcome when it is due and its last step applied; say whether that happened (spec AGR-14)."""
    state, settle = turn.state, turn.state.settle
    if state.phase is not Phase.SETTLE or settle is None:
        return False
    if not settle.due or settle.rounds <= faults(len(state.roster)):
        return False
    following = state.last.certified + 1 if state.last else 0
    if state.model_step != following:
        return False
    classes = [klass for klass in settle.accepted if isinstance(klass, GuiltyClass)]
    guilty = {klass.peer for klass in classes}
    bans = tuple(sorted({klass.peer for klass in classes if klass.type == "ban"}))
    roster = tuple(peer for peer in state.roster if peer not in guilty)
    # Not the model's digest: who has drifted must agree all the same, and COMMIT finds it out (spec STP-12).
    view = state.certificate[0].prev if state.certificate else state.opening
    outcome = Epoch(following, view, bans, roster)
    turn.set(outcome=outcome)
    turn.move(Trigger.OUTCOME, Phase.RATIFY)
    if turn.me not in roster:
        turn.stop("the others have agreed to go on without this peer")
        return True
    turn.sign(outcome)
    timing = turn.config.timing
    wait = 2 * (faults(len(state.roster)) + 1) * timing.delta + timing.c_commit + 4 * timing.delta
    turn.timer(wait, "ratify", state.epoch)
    return True


def enter_epoch(turn: Turn) -> bool:
    """Enter the next epoch when a quorum has signed the own outcome; say whether it did (spec AGR-15)."""
    state, outcome = turn.state, turn.state.outcome
    if state.phase is not Phase.RATIFY or outcome is None:
        return False
    records = {peer: _records(turn, peer) for peer in state.roster}
    signed = [envelope for found in records.values() if (envelope := found.get(outcome)) is not None]
    others = Counter(body for found in records.values() for body in found if body != outcome)
    if any(count >= quorum(len(state.roster)) for count in others.values()):
        turn.stop(
            "a majority agreed on another outcome than this peer saw: delta in the run file is shorter than "
            "the network's real delays; start the run anew with a larger delta"
        )
        return True
    if len(signed) < quorum(len(state.roster)):
        return False
    for envelope in signed:
        if envelope.author != turn.me:
            turn.send(envelope, tuple(peer for peer in turn.others() if peer != envelope.author))
    _start_epoch(turn, outcome, tuple(signed))
    return True


def _records(turn: Turn, author: int) -> dict[Body, Envelope]:
    """Return the EPOCH records of a member: a cheat may sign several, and others count each (spec AGR-15)."""
    slot: SlotKey = ("epoch", turn.state.epoch, author)
    keys = [slot]
    if author in turn.state.evidence:
        keys += [also_signed(slot, sender) for sender in turn.state.roster]
    envelopes = [envelope for key in keys if (envelope := turn.state.slots.get(key)) is not None]
    return {envelope.message.body: envelope for envelope in envelopes if envelope.message}


def unratified(turn: Turn) -> None:
    """Stop where no quorum signed the outcome; after the last step the others may simply have left."""
    outcome = turn.state.outcome
    if outcome is not None and outcome.next_step > last_number(turn):
        if "finished" not in turn.at.asked:
            turn.emit(fx.Finished(turn.state.model_digest))
        turn.emit(fx.Released())
        return
    turn.stop("no majority signed the outcome that this peer saw; check the links to the others")


def _start_epoch(turn: Turn, outcome: Epoch, signed: tuple[Envelope, ...]) -> None:
    state = turn.state
    _report(turn, outcome)
    opening = digest(
        "epoch",
        (state.epoch + 1).to_bytes(8, "little"),
        outcome.next_step.to_bytes(8, "little"),
        outcome.view,
        *(peer.to_bytes(4, "little") for peer in outcome.roster),
    )
    turn.set(
        epoch=state.epoch + 1,
        rosters=(*state.rosters, outcome.roster),
        first_step=outcome.next_step,
        opening=opening,
        certificate=None,
        banned=tuple(sorted({*state.banned, *outcome.bans})),
        settle=None,
        outcome=None,
        reports=(),
        waiting=type(state.waiting)(),
    )
    turn.emit(fx.RosterChanged(state.epoch + 1, outcome.roster, signed))
    begin_step(turn, outcome.next_step, (), Trigger.QUORUM, Trigger.QUORUM_AFTER_LAST)
    if turn.state.phase is not Phase.DONE and (reason := too_few(turn)):
        turn.stop(reason)


def _report(turn: Turn, outcome: Epoch) -> None:
    """Report who is out, by which rule (spec AGR-10)."""
    accepted = turn.state.settle.accepted if turn.state.settle else {}
    for peer in sorted(set(turn.state.roster) - set(outcome.roster)):
        kind = "ban" if peer in outcome.bans else "remove"
        chain = accepted.get(GuiltyClass("ban" if kind == "ban" else "guilty", peer))
        if chain is not None and isinstance(chain.object, Evidence):
            tell_expelled(turn, peer, kind, chain.object)


def too_few(turn: Turn) -> str | None:
    """Say why the roster is too small to go on; None if it is not (spec AGR-18)."""
    parameters, members = turn.config.parameters, len(turn.state.roster)
    gone = turn.config.peers - members
    if gone > parameters.f_max:
        return f"{gone} peers are out, more than f_max = {parameters.f_max}: an honest majority is in doubt"
    if members < 3:
        return f"{members} peers are left; at least 3 are needed"
    if members - parameters.validators <= 2 * (parameters.f_max - gone):
        return f"{members} members less {parameters.validators} validators no longer outvote f_max"
    return None
