"""Votes against what was found."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from attrs import evolve

from btard.attacks.base import Attack
from btard.attacks.byzantine import ByzantinePeer
from btard.attacks.forging import Forgery, own_body
from btard.statemachine.effects import Effect
from btard.statemachine.evidence import claim_of
from btard.statemachine.messages import Body, Vote, phase_slot
from btard.statemachine.table import Phase


class FalseVote(Attack):
    """Votes for the accuser where the accused is guilty, and for the accused where the accuser is."""

    name: ClassVar[str] = "false_vote"

    def meet(self, peer: ByzantinePeer) -> None:
        """Get the means to sign."""
        super().meet(peer)
        self._forgery = Forgery(peer.config, self._turned)

    def performed(self, effect: Effect) -> Iterable[Effect]:
        """Replace its votes."""
        if own_body(effect, self.me, Vote):
            return (self._forgery.instead(effect),)
        return (effect,)

    def _turned(self, vote: Body) -> Body:
        assert isinstance(vote, Vote)
        slot = phase_slot(self.state.epoch, vote.step, Phase(vote.raised), vote.accuser)
        accusation = self.state.slots.get(slot)
        claim = claim_of(accusation) if accusation else None
        if claim is None or vote.guilty != vote.accuser:
            return evolve(vote, guilty=vote.accuser, accomplices=())
        return evolve(vote, guilty=claim.accused)
