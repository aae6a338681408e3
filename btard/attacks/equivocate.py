"""Two messages for one slot."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from attrs import evolve

from btard.attacks.base import Attack
from btard.attacks.byzantine import ByzantinePeer
from btard.attacks.forging import Forgery, own_body
from btard.statemachine.effects import Effect, Send
from btard.statemachine.messages import (
    PHASE_BODIES,
    Accuse,
    Body,
    Claim,
    ClaimKind,
    Commit,
    Reduce,
    Reveal,
    Validate,
)
from btard.statemachine.table import STEP_PHASES

_PHASES = {phase.name.lower(): phase for phase in STEP_PHASES}


class Equivocate(Attack):
    """Signs two messages for one slot of ``phase`` (a name, or 0 to 4): one for each half of the others."""

    name: ClassVar[str] = "equivocate"

    def __init__(self, from_step: int = 1, phase: str | float = "commit") -> None:
        super().__init__(from_step)
        names = [*_PHASES]
        name = phase if isinstance(phase, str) else dict(enumerate(names)).get(int(phase), "")
        if name not in _PHASES:
            raise ValueError(f"phase is one of {', '.join(names)}, or 0 to {len(names) - 1}")
        self._kind = PHASE_BODIES[_PHASES[name]]

    def meet(self, peer: ByzantinePeer) -> None:
        """Get the means to sign."""
        super().meet(peer)
        self._forgery = Forgery(peer.config, self._other)

    def performed(self, effect: Effect) -> Iterable[Effect]:
        """Send every other receiver another message."""
        if own_body(effect, self.me, self._kind) is None or not isinstance(effect, Send):
            return (effect,)
        fooled, forged = self.others[::2], self._forgery.instead(effect)
        return (
            evolve(effect, to=tuple(peer for peer in effect.to if peer not in fooled)),
            evolve(forged, to=tuple(peer for peer in effect.to if peer in fooled)),
        )

    def _other(self, body: Body) -> Body:
        """Say something else that no form forbids: where that can be, something that can be delivered."""
        match body:
            case Commit():
                return evolve(body, sketch_commitment=bytes(32))
            case Reduce():
                return evolve(body, aggregate=bytes(32))
            case Reveal():
                return evolve(body, prev=bytes(32))  # another value would be the fault of RND-2
            case Validate():
                return evolve(body, sketches=bytes(len(body.sketches)))
            case Accuse(claim=None):
                return evolve(body, claim=Claim(ClaimKind.GRADIENT, self.others[0], 0, b""))
            case Accuse():
                return evolve(body, claim=None)
        raise TypeError(f"no phase message: {body.kind}")
