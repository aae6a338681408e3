"""What a running peer is doing, as plain values: for its status file, and for lines about whom it waits for."""

from __future__ import annotations

from typing import Any

from btard.node.peer import Peer
from btard.statemachine.ending import given_up
from btard.statemachine.evidence import claim_of
from btard.statemachine.messages import Stay, phase_slot
from btard.statemachine.ratify import too_few
from btard.statemachine.state import State
from btard.statemachine.staying import not_ready
from btard.statemachine.table import STEP_PHASES, Phase


def awaited(peer: Peer) -> list[int]:
    """Return the members for whose message this peer waits in its present phase, itself included."""
    if not peer.started:
        return peer.gathering.missing
    state = peer.state
    if state.phase in STEP_PHASES:
        return [member for member in state.roster if member not in state.at.delivered]
    if state.phase is Phase.RATIFY:
        return [member for member in state.roster if ("epoch", state.epoch, member) not in state.slots]
    if state.phase is Phase.HALTED:
        others = [member for member in state.roster if member != peer.config.me]
        return [member for member in others if member not in given_up(state) and not_ready(state, member)]
    return []


def why_awaited(peer: Peer, member: int) -> str:
    """Say in words what is known about why a member is waited for; empty where that is nothing."""
    if member == peer.config.me:
        return "computing" if _has_what_it_computes_from(peer.state) else "parts have not come"
    if not peer.started:
        return peer.gathering.why_missing(member)
    if member in peer.links.up:
        return (not_ready(peer.state, member) or "") if peer.state.phase is Phase.HALTED else ""
    trouble = peer.host.trouble(member)
    return "its link is down" if trouble is None else f"its link is down: {trouble}"


def _has_what_it_computes_from(state: State) -> bool:
    step = state.at
    waits = {Phase.REDUCE: "aggregate" if step.trains else "", Phase.ACCUSE: "verify"}.get(state.phase, "")
    return not waits or waits in step.asked


def claims(state: State) -> list[dict[str, Any]]:
    """Return the claims that are being judged."""
    if state.phase not in (Phase.ACCUSE, Phase.SETTLE):
        return []
    slots = (phase_slot(state.epoch, state.at.number, Phase.ACCUSE, peer) for peer in state.at.pursued)
    found = [(slot[-1], claim_of(state.slots[slot])) for slot in sorted(slots) if slot in state.slots]
    return [
        {"accuser": accuser, "accused": claim.accused, "kind": str(claim.kind), "part": claim.part}
        for accuser, claim in found
        if claim is not None
    ]


def gave_up(peer: Peer) -> list[list[Any]]:
    """Return which members, by their operators' words, go on without whom (spec AGR-26)."""
    state, said = peer.state, {}
    for (author, _), envelope in sorted(state.stays.items()):
        record = envelope.message.body if envelope.message else None
        if isinstance(record, Stay):
            said[author] = sorted(set(state.roster) - set(record.roster))
    if state.halted and state.halted.without:
        said[peer.config.me] = sorted(state.halted.without)
    return [[author, out] for author, out in sorted(said.items()) if out]


def spare(peer: Peer) -> int:
    """Return how many members can be given up so that the others may go on (spec AGR-18)."""
    roster = peer.state.roster
    return next(k for k in range(len(roster)) if k + 1 == len(roster) or too_few(peer.config, roster[k + 1 :]))


def snapshot(peer: Peer) -> dict[str, Any]:
    """Return where the peer stands; peers are named by index."""
    state, counters, steps = peer.state, peer.host.counters, peer.config.parameters.steps
    return {
        "step": min(state.at.number, steps),
        "closing_step": max(0, state.at.number - steps) if state.phase is not Phase.DONE else 0,
        "steps": steps,
        "phase": state.phase.name if peer.started else "WAITING",
        "epoch": state.epoch,
        "halted": state.halted and state.halted.reason,
        "held": sorted(state.halted.held) if state.halted else [],
        "gave_up": gave_up(peer),
        "spare": spare(peer),
        "roster": list(state.roster),
        "awaited": (missing := awaited(peer)),
        "reasons": [why_awaited(peer, member) for member in missing],
        "links_down": [m for m in state.roster if m != peer.config.me and m not in peer.links.up],
        "claims": claims(state),
        "bytes": {"bulk": counters.bulk_bytes_sent, "control": counters.control_bytes_sent},
    }
