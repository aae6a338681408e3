"""Coming to stand where the others go on: one certificate more, or one step back (spec AGR-15, AGR-22)."""

from __future__ import annotations

from btard.statemachine.ending import Ending, given_up
from btard.statemachine.halting import ask
from btard.statemachine.messages import Certificate, CommitClass
from btard.statemachine.phases import begin_step, certify
from btard.statemachine.roles import last_number
from btard.statemachine.table import Phase, Trigger
from btard.statemachine.turn import Turn


def catch_up(turn: Turn, ending: Ending) -> bool:
    """Come to stand where the next epoch starts; say whether this peer does (spec AGR-15, AGR-22)."""
    following = turn.state.following
    if ending.next_step == following + 1:
        certificate = _certificate_for(turn, ending)
        if certificate is None:
            for peer in turn.others():
                ask(turn, peer)
            return False
        certify(turn, certificate)
    elif ending.next_step == following - 1 and turn.state.before and not _roll_back(turn):
        return False
    if (ending.next_step, ending.view) != (turn.state.following, turn.state.view):
        turn.stop(
            "a majority went on from other steps than this peer's: this machine's memory or disk is broken, or "
            "this run has two histories; compare the peers' logs before anything else"
        )
        return False
    return True


def _certificate_for(turn: Turn, ending: Ending) -> Certificate | None:
    """Return the certificate of the step before the ending's, if that is this peer's step, and it is here."""
    state = turn.state
    klass = CommitClass(ending.next_step - 1, ending.view)
    chain = state.waiting.get(klass) or (state.settle.accepted.get(klass) if state.settle else None)
    if chain is None or not isinstance(chain.object, Certificate) or not fits_here(turn, klass):
        return None
    return chain.object


def fits_here(turn: Turn, klass: CommitClass) -> bool:
    """Whether a certificate is that of the current step, which is not certified here."""
    in_accuse = turn.at.phase is Phase.ACCUSE and turn.state.following == turn.at.number
    return in_accuse and (klass.step, klass.prev) == (turn.at.number, turn.prev())


def certified_while_halted(turn: Turn, klass: CommitClass, certificate: Certificate) -> bool:
    """Apply a step whose certificate comes in an answer, unless a STAY is signed (spec AGR-22, AGR-27).

    A STAY that lists somebody who was given up since is one that this peer is about to leave behind.
    """
    state = turn.state
    stays = state.stayed is not None and not given_up(state).intersection(state.stayed.roster)
    if state.phase is not Phase.HALTED or stays or not fits_here(turn, klass):
        return False
    certify(turn, certificate)
    if state.settle is None and turn.state.following > last_number(turn):
        turn.set(halted=None)
        begin_step(turn, turn.state.following, (), Trigger.CERTIFICATE, Trigger.LAST_CERTIFICATE)
    return True


def certify_what_is_here(turn: Turn) -> bool:
    """Halted: certify the step by what came before the halt; say whether that happened (spec AGR-17)."""
    state = turn.state
    if state.phase is not Phase.HALTED:
        return False
    accepted = state.settle.accepted.items() if state.settle else ()
    for klass, chain in (*state.waiting.items(), *accepted):
        fits = isinstance(klass, CommitClass) and isinstance(chain.object, Certificate)
        if fits and certified_while_halted(turn, klass, chain.object):
            return True
    return False


def _roll_back(turn: Turn) -> bool:
    """Forget the last certified step: the others never held its certificate, and do it again (spec AGR-22).

    The model is ahead, then, so this peer has drifted: COMMIT brings it the certified one (spec STP-13).
    """
    state, before = turn.state, turn.state.before
    applied = state.model_step == state.following or state.unapplied is not None
    if before is None or not applied:
        return False  # once the update is through
    turn.set(
        last=before.last,
        certificate=before.certificate,
        alarms=before.alarms,
        drifts=before.drifts,
        said_late=before.said_late,
        before=None,
        unapplied=None,
        model_step=state.following - 1,
    )
    return True
