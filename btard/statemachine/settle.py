"""SETTLE: freeze on evidence, agree on who is out and which step was last (spec AGR-11 to AGR-13, AGR-17)."""

from __future__ import annotations

from attrs import evolve

from btard.statemachine import effects as fx
from btard.statemachine.catching_up import certified_while_halted
from btard.statemachine.coming_back import pass_on_and_halt
from btard.statemachine.config import faults
from btard.statemachine.effects import Judgement, Verdict
from btard.statemachine.evidence import (
    BANNING,
    claim_of,
    opening_fails,
    proves,
    rule_broken,
    signature_holds,
)
from btard.statemachine.halting import halt
from btard.statemachine.messages import (
    Accuse,
    Certificate,
    Chain,
    Class,
    CommitClass,
    Evidence,
    EvidenceKind,
    GuiltyClass,
)
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
            _note_against_me(turn, evidence)
            return
    own = [(klass, evidence) for evidence in found for klass in _classes_of(evidence)]
    if turn.state.phase in _RUNNING and not pass_on_and_halt(turn, own):
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


def _note_against_me(turn: Turn, evidence: Evidence) -> None:
    """Stop for a proof; where the others only missed this peer, it may yet be one of them (spec AGR-18)."""
    rule, what = rule_broken(evidence)
    if evidence.kind in BANNING:
        tell_expelled(turn, turn.me, "ban", evidence)  # what the others decide does not come here any more
        turn.stop(
            f"the others can prove a fault of this peer ({rule}: {what}); if it runs unmodified, check "
            "its memory, disk and torch build, and whether a second process uses its key"
        )
    elif "finished" not in turn.at.asked:
        if evidence.subject not in turn.state.evidence:
            turn.set(evidence=turn.state.evidence.insert(evidence.subject, evidence))
        halt(turn, f"the others say of this peer that {what} ({rule}); check its links and its load")


def _ban_former_member(turn: Turn, evidence: Evidence) -> None:
    """Ban the key of a former member that votes convict: it has no part in any agreement (spec VER-19)."""
    state, subject = turn.state, evidence.subject
    known = (*state.roster, *state.banned, *state.convicted)
    if evidence.kind is not EvidenceKind.VERDICT or subject in known:
        return
    turn.set(convicted=state.convicted | {subject})
    tell_expelled(turn, subject, "ban", evidence)


def tell_expelled(turn: Turn, peer: int, kind: str, evidence: Evidence, epoch: int | None = None) -> None:
    """Report who is out by which rule, in which step, and whether its wrong contribution was applied.

    ``epoch`` is the one that it lost its place in, where that is not the present one.
    """
    rule, reason = rule_broken(evidence)
    claim = claim_of(evidence.envelopes[0])
    accusation = evidence.envelopes[0].message
    step, applied = turn.at.number, 0
    former = epoch is None and peer not in turn.state.roster
    epoch = turn.state.epoch if epoch is None else epoch
    if claim is not None and accusation is not None:
        step = getattr(accusation.body, "step", step)
        epoch = accusation.epoch if former else epoch
        if rule in ("VER-1", "VER-18"):  # of the step before, which was certified and so applied
            applied = min(step - 1, turn.config.parameters.steps)
    turn.emit(fx.Expelled(peer, step, rule, kind, reason, applied, epoch, evidence))


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
    if isinstance(chain.klass, GuiltyClass) and chain.klass.peer in set(state.rosters[0]) - set(state.roster):
        return Judgement(Verdict.IGNORE, "its subject is no member any more", "OPS-13")
    in_rounds = state.phase is Phase.SETTLE and _in_time(turn, chain)
    # What came too late for its round waits, too: the same class may still come in time from another member.
    waits = chain.klass in state.waiting and not in_rounds
    if waits or (state.settle is not None and chain.klass in state.settle.accepted):
        return Judgement(Verdict.IGNORE, "known")
    if state.phase is Phase.STOPPED:
        return Judgement(Verdict.IGNORE, "stopped")
    if reason := _invalid(turn, chain):
        return Judgement(Verdict.REJECT, reason, "AGR-13")
    if isinstance(chain.klass, CommitClass) and isinstance(chain.object, Certificate):
        if chain.klass.step < state.following:
            return Judgement(Verdict.IGNORE, "certified here as well")
        if certified_while_halted(turn, chain.klass, chain.object):
            return Judgement(Verdict.ACCEPT, "the step is certified")
        if state.phase is not Phase.SETTLE or not _in_time(turn, chain):
            turn.set(waiting=state.waiting.insert(chain.klass, chain))
            return Judgement(Verdict.DEFER, "until there is evidence, or a record that rests on it")
    elif isinstance(chain.object, Evidence):
        if state.phase in _RUNNING:
            note_evidence(turn, chain.object, chain=chain)
            return Judgement(Verdict.ACCEPT, "froze on it")
        note_evidence(turn, chain.object)
    if turn.state.phase is not Phase.SETTLE or not _in_time(turn, chain):
        return Judgement(Verdict.IGNORE, "too late for this epoch", "AGR-13")
    _accept(turn, chain.klass, chain)
    return Judgement(Verdict.ACCEPT, "accepted")


def _in_time(turn: Turn, chain: Chain) -> bool:
    """Whether a chain carries a signature for each round that is over here, and one more (spec AGR-13)."""
    settle = turn.state.settle
    over = settle is None or settle.rounds > faults(len(turn.state.roster))
    return settle is not None and not over and len(chain.signatures) > settle.rounds


def _invalid(turn: Turn, chain: Chain) -> str | None:
    """Say what is wrong with a chain; None if nothing is (spec AGR-13)."""
    config, state = turn.config, turn.state
    members = [member for member, _ in chain.signatures]
    # An answer to a poll carries the object alone, which is as good as having come by it here (spec AGR-20).
    if len(set(members)) != len(members) or not set(members) <= set(state.roster):
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
