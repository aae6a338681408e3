"""SETTLE: one agreement per epoch on who is out and which step was the last (spec AGR-11 to AGR-18)."""

from __future__ import annotations

from collections import Counter

from attrs import evolve

from btard.hashing import digest
from btard.statemachine import effects as fx
from btard.statemachine.config import faults, quorum
from btard.statemachine.effects import Judgement, Verdict
from btard.statemachine.evidence import (
    BANNING,
    claim_of,
    opening_fails,
    proves,
    rule_broken,
    signature_holds,
)
from btard.statemachine.messages import (
    Accuse,
    Body,
    Certificate,
    Chain,
    ClaimKind,
    Class,
    CommitClass,
    Envelope,
    Epoch,
    Evidence,
    EvidenceKind,
    GuiltyClass,
    SlotKey,
    also_signed,
)
from btard.statemachine.phases import begin_step, certify
from btard.statemachine.roles import last_number
from btard.statemachine.state import Settle
from btard.statemachine.table import STEP_PHASES, Phase, Trigger
from btard.statemachine.turn import Turn
from btard.wire import class_content

_RUNNING = (*STEP_PHASES, Phase.DONE)


# -- evidence and freeze --------------------------------------------------------------------------------


def note_evidence(turn: Turn, *found: Evidence, chain: Chain | None = None) -> None:
    """Freeze on the first evidence against a member; later finds are kept for the next epoch (spec AGR-11).

    ``found`` is what came to light at once; ``chain`` is what brought it, if it did not come to light here:
    its signatures are kept.
    """
    for evidence in found:
        _ban_former_member(turn, evidence)
    found = tuple(evidence for evidence in found if evidence.subject in turn.state.roster)
    if not found or turn.state.phase is Phase.STOPPED:
        return
    for evidence in found:
        if evidence.subject == turn.me:
            rule, what = rule_broken(evidence)
            turn.stop(
                f"the others can prove a fault of this peer ({rule}: {what}); if it runs unmodified, check "
                "its memory, disk and torch build, and whether a second process uses its key"
            )
            return
    if turn.state.phase in _RUNNING:
        _freeze(turn)
        if chain is not None:
            _accept(turn, chain.klass, chain)
        for evidence in found:
            _accept_own(turn, _classes_of(evidence), evidence)
        for klass, waiting in list(turn.state.waiting.items()):
            _accept(turn, klass, waiting)
        return
    for evidence in found:
        if evidence.subject not in turn.state.evidence:
            turn.set(evidence=turn.state.evidence.insert(evidence.subject, evidence))


def _ban_former_member(turn: Turn, evidence: Evidence) -> None:
    """Ban the key of a former member that votes convict: it has no part in any agreement (spec VER-19)."""
    state, subject = turn.state, evidence.subject
    known = (*state.roster, *state.banned, *state.convicted)
    if evidence.kind is not EvidenceKind.VERDICT or subject in known:
        return
    turn.set(convicted=state.convicted | {subject})
    _tell(turn, subject, "ban", evidence)


def _tell(turn: Turn, peer: int, kind: str, evidence: Evidence) -> None:
    """Report who is out by which rule, in which step, and whether its wrong contribution was applied."""
    rule, reason = rule_broken(evidence)
    claim = claim_of(evidence.envelopes[0])
    accusation = evidence.envelopes[0].message
    step, applied = turn.at.number, 0
    if claim is not None and accusation is not None:
        step = getattr(accusation.body, "step", step)
        # Such a claim is about the step before, which was certified and so applied.
        late = claim.kind in (ClaimKind.GRADIENT, ClaimKind.VALIDATOR) and rule in ("VER-1", "VER-18")
        applied = min(step - 1, turn.config.parameters.steps) if late else 0
    turn.emit(fx.Expelled(peer, step, rule, kind, reason, applied))


def _freeze(turn: Turn) -> None:
    """Sign nothing more in this epoch; hold the own certificate against the outcome (spec AGR-12)."""
    turn.move(Trigger.EVIDENCE, Phase.SETTLE)
    turn.set(settle=Settle())
    timing, rounds = turn.config.timing, faults(len(turn.state.roster)) + 1
    for k in range(1, rounds + 1):
        turn.timer(2 * k * timing.delta, "settle", turn.state.epoch, k)
    # Nobody ratifies before everybody can have applied what the rounds decide: honest peers must enter the
    # next epoch within delta of each other, or its own rounds would not be in step (spec AGR-14).
    apply = timing.c_judge + timing.c_commit
    turn.timer(2 * rounds * timing.delta + apply, "outcome", turn.state.epoch)
    if turn.state.certificate is not None:
        klass, certificate = turn.state.certificate
        _accept_own(turn, (klass,), certificate)


def _classes_of(evidence: Evidence) -> tuple[Class, ...]:
    guilty = GuiltyClass("guilty", evidence.subject)
    return (guilty, GuiltyClass("ban", evidence.subject)) if evidence.kind in BANNING else (guilty,)


# -- chains ---------------------------------------------------------------------------------------------


def _accept_own(turn: Turn, classes: tuple[Class, ...], proof: Evidence | Certificate) -> None:
    for klass in classes:
        _accept(turn, klass, Chain(turn.state.epoch, klass, proof, ()))


def _accept(turn: Turn, klass: Class, chain: Chain) -> None:
    """Accept a class: add the own signature and pass the chain on at once (spec AGR-13)."""
    settle = turn.state.settle
    if settle is None or klass in settle.accepted:
        return
    signature = turn.config.sign(class_content(turn.config.run, chain.epoch, klass))
    signed = evolve(chain, signatures=(*chain.signatures, (turn.me, signature)))
    turn.set(settle=evolve(settle, accepted=settle.accepted.insert(klass, signed)))
    turn.send(signed)


def receive_chain(turn: Turn, chain: Chain) -> Judgement:
    """Accept a chain in time; before a freeze, a guilty chain freezes first (spec AGR-13, AGR-17)."""
    state = turn.state
    if chain.epoch != state.epoch:
        return Judgement(Verdict.IGNORE, "chain of another epoch")
    if (state.settle is not None and chain.klass in state.settle.accepted) or chain.klass in state.waiting:
        return Judgement(Verdict.IGNORE, "known")
    if state.phase is Phase.STOPPED:
        return Judgement(Verdict.IGNORE, "stopped")
    if reason := _invalid(turn, chain):
        return Judgement(Verdict.REJECT, reason, "AGR-13")
    if isinstance(chain.klass, CommitClass):
        if state.phase in _RUNNING:
            if chain.klass.step < state.at.number:
                return Judgement(Verdict.IGNORE, "certified here as well")
            turn.set(waiting=state.waiting.insert(chain.klass, chain))
            return Judgement(Verdict.DEFER, "until there is evidence")
    elif isinstance(chain.object, Evidence):
        if state.phase in _RUNNING:
            note_evidence(turn, chain.object, chain=chain)
            return Judgement(Verdict.ACCEPT, "froze on it")
        note_evidence(turn, chain.object)
    settle = state.settle if state.phase is Phase.SETTLE else None
    over = settle is None or settle.rounds > faults(len(state.roster))
    if settle is None or over or len(chain.signatures) <= settle.rounds:
        return Judgement(Verdict.IGNORE, "too late for this epoch", "AGR-13")
    _accept(turn, chain.klass, chain)
    return Judgement(Verdict.ACCEPT, "accepted")


def _invalid(turn: Turn, chain: Chain) -> str | None:
    """Say what is wrong with a chain; None if nothing is (spec AGR-13)."""
    config, state = turn.config, turn.state
    members = [member for member, _ in chain.signatures]
    if not members or len(set(members)) != len(members) or not set(members) <= set(state.roster):
        return "not signed by distinct members"
    content = class_content(config.run, chain.epoch, chain.klass)
    if not all(config.verify(config.keys[member], content, signed) for member, signed in chain.signatures):
        return "a signature does not hold"
    match chain.klass, chain.object:
        case GuiltyClass(type=kind, peer=peer), Evidence() as evidence:
            if peer not in state.roster or evidence.subject != peer:
                return "names no member"
            if kind == "ban" and evidence.kind not in BANNING:
                return "its evidence does not ban"
            return None if proves(config, state, evidence) else "its evidence proves nothing"
        case CommitClass() as klass, Certificate() as certificate:
            return None if _certifies(turn, klass, certificate) else "no certificate"
    return "class and object do not match"


def _certifies(turn: Turn, klass: CommitClass, certificate: Certificate) -> bool:
    """Whether these are all members' ``ok`` for the step, following one view and opening rightly."""
    roster = turn.state.roster
    if tuple(envelope.author for envelope in certificate.envelopes) != roster:
        return False
    for envelope in certificate.envelopes:
        message = envelope.message
        if message is None or not isinstance(message.body, Accuse) or message.body.claim is not None:
            return False
        place = (message.epoch, message.body.step, message.body.prev)
        if place != (turn.state.epoch, klass.step, klass.prev):
            return False
        commit = turn.state.slots.get(("phase", message.epoch, message.body.step, 0, envelope.author))
        if commit is None or opening_fails(turn.config, commit, envelope):
            return False
    return all(signature_holds(turn.config, envelope) for envelope in certificate.envelopes)


# -- outcome and the next epoch -------------------------------------------------------------------------


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
    outcome = Epoch(following, state.model_digest, bans, roster)
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
    _start_epoch(turn, outcome)
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
            turn.emit(fx.Finished(outcome.digest))
        turn.emit(fx.Released())
        return
    turn.stop("no majority signed the outcome that this peer saw; check the links to the others")


def _start_epoch(turn: Turn, outcome: Epoch) -> None:
    state = turn.state
    _report(turn, outcome)
    opening = digest(
        "epoch",
        (state.epoch + 1).to_bytes(8, "little"),
        outcome.next_step.to_bytes(8, "little"),
        outcome.digest,
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
    turn.emit(fx.RosterChanged(state.epoch + 1, outcome.roster))
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
            _tell(turn, peer, kind, chain.object)


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
