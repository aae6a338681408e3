"""What a peer that the others go on without tells before it stops: its ledger needs it most (spec OPS-11)."""

from __future__ import annotations

from btard.statemachine import effects as fx
from btard.statemachine.ending import Ending
from btard.statemachine.evidence import BANNING
from btard.statemachine.messages import Envelope, Evidence, GuiltyClass
from btard.statemachine.settle import tell_expelled
from btard.statemachine.turn import Turn


def tell_who_is_out(turn: Turn, ending: Ending, signed: tuple[Envelope, ...]) -> None:
    """Tell whom an ending leaves out, this peer among them, and why, as far as that is here."""
    for peer in sorted(set(turn.state.roster) - set(ending.roster)):
        kind = "ban" if peer in ending.bans else "remove"
        evidence = _against(turn, peer, kind)
        if evidence is not None:
            tell_expelled(turn, peer, kind, evidence)
    turn.emit(fx.LeftOut(turn.state.epoch, ending.roster, signed))


def _against(turn: Turn, peer: int, kind: str) -> Evidence | None:
    """Return what stands for an outcome, from the agreement or from before it (spec AGR-10)."""
    settle = turn.state.settle
    chain = settle.accepted.get(GuiltyClass("ban" if kind == "ban" else "guilty", peer)) if settle else None
    proofs = (chain.object if chain else None, turn.state.evidence.get(peer))
    fitting = (
        proof for proof in proofs if isinstance(proof, Evidence) and (kind == "remove" or proof.kind in BANNING)
    )
    return next(fitting, None)
