"""The outcome of SETTLE, and the brake that keeps it from being signed (spec AGR-14, AGR-24)."""

from __future__ import annotations

from collections import Counter

from attrs import evolve

from btard.statemachine import effects as fx
from btard.statemachine.config import Config, faults
from btard.statemachine.halting import halt
from btard.statemachine.messages import (
    Certificate,
    CommitClass,
    Epoch,
    Evidence,
    EvidenceKind,
    GuiltyClass,
    SlotKey,
)
from btard.statemachine.phases import certify
from btard.statemachine.roles import last_number
from btard.statemachine.state import Settle, State
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
    timing = turn.config.timing
    if turn.state.settle is not None:
        turn.set(settle=evolve(turn.state.settle, due=True))
        turn.timer(timing.c_judge + timing.c_commit + 4 * timing.delta, "settled", turn.state.epoch)


def unsettled(turn: Turn) -> None:
    """Halt where the outcome's step could not be applied in time (spec AGR-18)."""
    halt(
        turn,
        "the last certified step could not be applied here in time; look at this machine's load and links",
    )


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
    outcome = Epoch(following, state.view, bans, roster)
    turn.set(outcome=outcome)
    if reason := _braked(turn, roster):
        halt(turn, reason, held=frozenset(_would_go(turn)))
        return True
    turn.move(Trigger.OUTCOME, Phase.RATIFY)
    turn.sign(outcome)
    timing = turn.config.timing
    wait = 2 * (faults(len(state.roster)) + 1) * timing.delta + timing.c_commit + 4 * timing.delta
    turn.timer(wait, "ratify", state.epoch)
    return True


def _braked(turn: Turn, roster: tuple[int, ...]) -> str | None:
    """Say why lateness alone is not to remove so many at once; None if it may (spec AGR-24)."""
    state, accepted, limit = turn.state, turn.state.settle, turn.config.parameters.late_brake
    if accepted is None or state.following > last_number(turn):
        return None
    late = {peer for peer in state.roster if _late_alone(accepted, peer)}
    missed, before = _would_go(turn), _gone_since_a_step(state)
    if late and len(missed | before) > limit:
        why = f"more than late_brake = {limit}"
        why += f", with {len(before)} removed since a step was last certified" if before else ""
    elif late and turn.config.peers - len(roster) > turn.config.parameters.f_max:
        why = "too few would be left"
    else:
        return None
    names = ", ".join(f"peer {peer}" for peer in sorted(missed))
    return (
        f"{names} would be removed for lateness alone ({why}): that looks like a broken network; repair "
        "it, and the run goes on by itself once all members are back; or let the operators of a majority give "
        "up the same peers with `btard resume --without ...`, and it goes on without those"
    )


def _gone_since_a_step(state: State) -> set[int]:
    """Return whom lateness alone removed since a step was last certified: links may be broken since then."""
    gone, number, certified = set[int](), state.epoch, state.certificate is not None
    while number and not certified:
        number -= 1
        passage = state.passages[number]
        if any(env.message and isinstance(env.message.body, Epoch) for env in passage.records):
            shown = [chain.object for chain in passage.guilty if isinstance(chain.object, Evidence)]
            otherwise = {proof.subject for proof in shown if proof.kind is not EvidenceKind.LATE}
            out = set(state.rosters[number]) - set(state.rosters[number + 1])
            gone |= out - otherwise - set(state.banned)
        certified = passage.certificate is not None
    return gone


def _would_go(turn: Turn) -> set[int]:
    """Return whom lateness alone removes now, or soon if they do not come back."""
    state = turn.state
    late = {peer for peer in state.roster if state.settle and _late_alone(state.settle, peer)}
    return late | _missed(turn)


def _missed(turn: Turn) -> set[int]:
    """Return who misses a message in this step: whom this peer waited for in vain, or f+1 members did.

    Whoever says LATE says it of all that it misses before it freezes on any, and one in f+1 is honest. LATEs
    count also where they came after the freeze.
    """
    state, counts = turn.state, Counter[SlotKey]()
    for slot in state.slots:
        if slot[:3] == ("late", state.epoch, turn.at.number) and slot[-1] in state.roster:
            own = slot[-1] == turn.me and slot[3] == turn.at.phase and slot[4] not in turn.at.delivered
            counts[slot[:-1]] += faults(len(state.roster)) + 1 if own else 1
    return {int(slot[4]) for slot, count in counts.items() if count > faults(len(state.roster))}


def _late_alone(settle: Settle, peer: int) -> bool:
    """Whether a member is to be removed, and nothing but lateness is known against it."""
    chain = settle.accepted.get(GuiltyClass("guilty", peer))
    if chain is None or GuiltyClass("ban", peer) in settle.accepted:
        return False
    return isinstance(chain.object, Evidence) and chain.object.kind is EvidenceKind.LATE


def unratified(turn: Turn) -> None:
    """Halt where no quorum signed a record; after the last step the others may simply have left."""
    outcome = turn.state.outcome
    if outcome is not None and outcome.next_step > last_number(turn):
        if "finished" not in turn.at.asked:
            turn.emit(fx.Finished(turn.state.model_digest))
        turn.emit(fx.Released())
        return
    halt(turn, "no majority signed the outcome that this peer saw: messages do not get through to them or back")


def too_few(config: Config, roster: tuple[int, ...]) -> str | None:
    """Say why a roster is too small to go on; None if it is not (spec AGR-18)."""
    parameters, members = config.parameters, len(roster)
    gone = config.peers - members
    if gone > parameters.f_max:
        return f"{gone} peers are out, more than f_max = {parameters.f_max}: an honest majority is in doubt"
    if members < 3:
        return f"{members} peers are left; at least 3 are needed"
    if members - parameters.validators <= 2 * (parameters.f_max - gone):
        return f"{members} members less {parameters.validators} validators no longer outvote f_max"
    return None
