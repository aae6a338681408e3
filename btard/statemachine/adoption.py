"""Entering the next epoch on a record that enough members signed, from anywhere (spec AGR-15, AGR-16)."""

from __future__ import annotations

from attrs import evolve
from rpds import HashTrieMap

from btard.hashing import digest
from btard.statemachine import effects as fx
from btard.statemachine.catching_up import catch_up
from btard.statemachine.effects import Judgement, Verdict
from btard.statemachine.ending import Ending, bound, ending_of, endings, enough, signers
from btard.statemachine.evidence import BANNING, proves, rule_broken
from btard.statemachine.halting import halt, without_signatures
from btard.statemachine.leaving import tell_who_is_out
from btard.statemachine.messages import Chain, Envelope, Evidence, GuiltyClass
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
    if state.phase is Phase.STOPPED:
        return False
    here = endings(state)
    signed_enough = [ending for ending, found in here.items() if enough(state.roster, ending, found)]
    decided = [ending for ending in signed_enough if not bound(state, turn.me, ending)]
    if not decided:
        if signed_enough:
            _say_what_binds(turn, signed_enough[0])
        return False
    own = [ending_of(record) for record in (state.stayed, state.outcome) if record is not None]
    ending = next((ending for ending in own if ending in decided), decided[0])
    signed = tuple(signers(ending, here[ending]).values())
    if turn.me not in ending.roster:
        # After the last step the others may well go on: this peer has what it came for.
        return "finished" not in turn.at.asked and _left_behind(turn, ending, signed)
    if not catch_up(turn, ending):
        return turn.state.phase is Phase.STOPPED
    for envelope in signed:
        if envelope.author != turn.me:
            turn.send(envelope, tuple(peer for peer in turn.others() if peer != envelope.author))
    _start_epoch(turn, ending, signed)
    return True


def _say_what_binds(turn: Turn, ending: Ending) -> None:
    """Tell the operator, once, of what this peer has promised not to follow (spec AGR-27)."""
    halted = turn.state.halted
    reason = (
        f"enough members signed to go on from step {ending.next_step} by a record that this peer has promised "
        "not to follow (AGR-27): it waits for all whom its own STAY lists; ask the operators where they are"
    )
    if halted is not None and halted.reason != reason:
        turn.set(halted=evolve(halted, reason=reason))
        turn.emit(fx.Halted(reason))


def _left_behind(turn: Turn, ending: Ending, signed: tuple[Envelope, ...]) -> bool:
    """Say that the others go on without this peer, and why, once they have had the time to tell."""
    evidence, halted = turn.state.evidence.get(turn.me), turn.state.halted
    words = f"the others went on from step {ending.next_step} without this peer"
    if evidence is not None:
        rule, reason = rule_broken(evidence)
        words += f": it is removed, not banned, since {reason} ({rule}); check its links and its load"
    elif halted is None or halted.asked is None:
        halt(turn, f"{words}; it asks them why")
        turn.set(halted=evolve(turn.state.halted or Halt(words), asked=0))
        return False
    elif halted.asked < ASKED_FOR_REASON:
        return False
    tell_who_is_out(turn, ending, signed)
    turn.stop(words)
    return True


# -- the new epoch --------------------------------------------------------------------------------------


def _start_epoch(turn: Turn, ending: Ending, signed: tuple[Envelope, ...]) -> None:
    state = turn.state
    guilty = _report(turn, ending)
    certificate = Chain(state.epoch, *state.certificate, ()) if state.certificate else None
    opening = digest(
        "epoch",
        (state.epoch + 1).to_bytes(8, "little"),
        ending.next_step.to_bytes(8, "little"),
        ending.view,
        *(peer.to_bytes(4, "little") for peer in ending.roster),
    )
    explained = {chain.klass.peer for chain in guilty if isinstance(chain.klass, GuiltyClass)}
    turn.set(
        epoch=state.epoch + 1,
        rosters=(*state.rosters, ending.roster),
        first_step=ending.next_step,
        opening=opening,
        certificate=None,
        banned=tuple(sorted({*state.banned, *ending.bans})),
        evidence=_evidence_left(turn, ending),
        settle=None,
        outcome=None,
        stays=type(state.stays)(),
        stayed=None,
        halted=None,
        polls=type(state.polls)(),
        passages=state.passages.insert(state.epoch, Passage(signed, certificate, guilty)),
        before=None,
        unexplained=(state.unexplained | set(state.roster)) - set(ending.roster) - explained,
        reports=(),
        waiting=type(state.waiting)(),
    )
    turn.emit(fx.RosterChanged(state.epoch + 1, ending.roster, signed))
    turn.timer(turn.config.timing.t_commit // 2, "remind", state.epoch + 1)
    begin_step(turn, ending.next_step, (), Trigger.RECORD, Trigger.RECORD_AFTER_LAST)
    if turn.state.phase is not Phase.DONE and (reason := too_few(turn.config, ending.roster)):
        turn.stop(reason)


def _evidence_left(turn: Turn, ending: Ending) -> HashTrieMap[int, Evidence]:
    """Return what freezes the new epoch at once: after a halt, as times did not hold, nothing late (AGR-16)."""
    state, left = turn.state, turn.state.evidence
    if turn.me in left:
        left = left.remove(turn.me)
    if state.phase is not Phase.HALTED:
        return left
    accepted = state.settle.accepted.values() if state.settle else ()
    proofs = [*left.values(), *(chain.object for chain in accepted)]
    evidence = [proof for proof in proofs if isinstance(proof, Evidence) and proof.subject in ending.roster]
    banning = [proof for proof in evidence if proof.kind in BANNING]
    return HashTrieMap({proof.subject: proof for proof in reversed(banning)})


def _report(turn: Turn, ending: Ending) -> tuple[Chain, ...]:
    """Report who is out, by which rule, and return what shows it (spec AGR-10)."""
    accepted = turn.state.settle.accepted if turn.state.settle else {}
    shown = []
    for peer in sorted(set(turn.state.roster) - set(ending.roster)):
        kind = "ban" if peer in ending.bans else "remove"
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
