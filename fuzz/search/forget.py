"""What a peer remembers that can make no difference any more; without it, many worlds are one.

The core keeps the messages of the step before and of earlier epochs, and who asked whom. None of what is
dropped here can change what a peer does: a test walks with and without it, side by side.
"""

from __future__ import annotations

from attrs import evolve

from btard.statemachine.messages import GuiltyClass, SlotKey
from btard.statemachine.state import Settle, State
from btard.statemachine.table import Phase

FROZEN = (Phase.SETTLE, Phase.RATIFY)


def forget(state: State) -> State:
    """Return the state without what can make no difference."""
    slots, served, pulled, evidence = state.slots, state.served, state.pulled, state.evidence
    for slot in list(slots):
        if _is_past(state, slot):
            slots = slots.remove(slot)
    for entry in list(served):
        if _is_past(state, entry[1]) or _position(entry[1]) < state.position - 1:
            served = served.remove(entry)
    for name in list(pulled):
        _, epoch, step, phase, _ = name
        if epoch != state.epoch or 5 * int(step) + int(phase) < state.position - 1:
            pulled = pulled.remove(name)
    if state.settle is not None:
        out = {klass.peer for klass in state.settle.accepted if isinstance(klass, GuiltyClass)}
        for peer in out & set(evidence):
            evidence = evidence.remove(peer)
    settle = state.settle and _without_signatures(state.settle)
    return evolve(state, slots=slots, served=served, pulled=pulled, evidence=evidence, settle=settle)


def _without_signatures(settle: Settle) -> Settle:
    """Drop the signatures of what is accepted: they were sent on, and do not count any more."""
    accepted = settle.accepted
    for klass, chain in list(accepted.items()):
        if chain.signatures:
            accepted = accepted.insert(klass, evolve(chain, signatures=()))
    return evolve(settle, accepted=accepted)


def _position(slot: SlotKey) -> int:
    """Return where among all phases a slot has its place."""
    kind, _, step, *rest = slot
    within = int(rest[0]) if kind in ("phase", "late", "enter") else int(Phase.ACCUSE)
    return 5 * int(step) + within


def _is_past(state: State, slot: SlotKey) -> bool:
    """Whether what fills this slot is never looked at again."""
    if slot[1] != state.epoch:
        return True
    match slot[0]:
        case "epoch":
            return False
        case "late" if int(slot[5]) >= 0:  # whoever gets the PUBLISH in a later phase forwards it
            return state.phase in FROZEN or int(slot[2]) < state.at.number
        case "late":
            return state.phase in FROZEN or _position(slot) < state.position - 1
        case "enter":
            return state.phase in FROZEN or (_position(slot) < state.position and state.phase is not Phase.DONE)
        case "need":  # another one for its slot would be evidence
            return int(slot[2]) < state.at.number - 1
        case "publish" | "noverdict":
            return state.phase in FROZEN or int(slot[2]) < state.at.number
        case "vote":  # on a report it counts in the next step, too
            return state.phase in FROZEN or int(slot[2]) < state.at.number - 1
    return False
