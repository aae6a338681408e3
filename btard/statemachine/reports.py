"""Reports that still wait for their verdict: nobody leaves the run before (spec STP-11, VER-19)."""

from __future__ import annotations

from btard.statemachine.evidence import claim_of
from btard.statemachine.messages import SlotKey, phase_slot
from btard.statemachine.state import State
from btard.statemachine.table import Phase


def all_decided(state: State, me: int) -> bool:
    """Whether the votes on every report are in: one's own, and everybody's or enough of them.

    Without one's own the others might lack a quorum; a quorum against the reporter freezes by itself.
    """
    return all(_decided(state, me, step, author) for step, author in state.reports)


def _decided(state: State, me: int, step: int, author: int) -> bool:
    slot: SlotKey = ("vote", state.epoch, step, int(Phase.VALIDATE), author)
    voted = {peer for peer in state.roster if (*slot, peer) in state.slots}
    raised = state.slots.get(phase_slot(state.epoch, step, Phase.VALIDATE, author))
    report = claim_of(raised) if raised else None
    convicted = report is not None and report.accused in state.convicted
    return me in voted and (convicted or voted == set(state.roster))
