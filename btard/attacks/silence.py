"""Peers that fall silent when it suits them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import ClassVar

from btard.attacks.base import Attack
from btard.attacks.forging import own_body
from btard.attacks.sign_flip import SignFlip
from btard.statemachine.effects import Effect, Entered, Fetch, FetchModel, Offer, Send
from btard.statemachine.messages import PHASE_BODIES, Accuse, Body, Reveal

_OPENINGS = {"reveal": Reveal, "accuse": Accuse}


class WithholdReveal(Attack):
    """Never opens what it committed to, once it can see what the others have opened.

    ``phase`` says which of the two values: ``reveal`` (the sketch value) or ``accuse`` (the election value).
    """

    name: ClassVar[str] = "withhold_reveal"

    def __init__(self, from_step: int = 1, phase: str = "reveal") -> None:
        super().__init__(from_step)
        if phase not in _OPENINGS:
            raise ValueError(f"phase is one of {', '.join(_OPENINGS)}")
        self._kind: type[Body] = _OPENINGS[phase]

    def performed(self, effect: Effect) -> Iterable[Effect]:
        """Keep the opening back."""
        return () if own_body(effect, self.me, self._kind) else (effect,)


class Silent(Attack):
    """Says nothing any more, serves nothing and asks for nothing."""

    name: ClassVar[str] = "silent"

    def performed(self, effect: Effect) -> Iterable[Effect]:
        """Leave out whatever others would notice."""
        return () if isinstance(effect, Send | Offer | Fetch | FetchModel) else (effect,)


class CrashLoop(Attack):
    """Dies after ``phases`` more phases, and again each time that it is started anew: with 1, in every phase.

    Without ``away`` somebody else has to start it. With it, it does so itself, so much later, and goes on with
    its journal; in units of T_commit, so that with much less than 1 it is back in time, and with more too late.
    """

    name: ClassVar[str] = "crash_loop"

    def __init__(self, from_step: int = 1, phases: float = 7, away: float | None = None) -> None:
        super().__init__(from_step)
        if phases < 1:
            raise ValueError("phases is 1 or more")
        if away is not None and not 0 <= away < math.inf:
            raise ValueError("away is 0 or more, in units of T_commit")
        self.phases = int(phases)
        self.away = away
        self._entered = 0

    def performed(self, effect: Effect) -> Iterable[Effect]:
        """Die, or not yet."""
        if isinstance(effect, Entered):
            self._entered += 1
            if self._entered % self.phases == 0:
                t_commit = self.peer.config.timing.t_commit / 1000
                self.peer.die(None if self.away is None else self.away * t_commit)
        return (effect,)


class Vanish(SignFlip):
    """Contributes its gradient times ``factor``, and falls silent for good when it is drawn as a target."""

    name: ClassVar[str] = "vanish"
    _drawn: int | None = None  # in which step

    def performed(self, effect: Effect) -> Iterable[Effect]:
        """Finish the step that is looked at, and send nothing of the next."""
        state = self.state
        if self._drawn is None and any(pair.target == self.me for pair in state.at.pairs):
            self._drawn = state.at.number
        if self._drawn is None or not isinstance(effect, Send | Offer | Fetch):
            return (effect,)
        said = own_body(effect, self.me, tuple(PHASE_BODIES.values()))
        return (effect,) if said is not None and getattr(said, "step", 0) < self._drawn else ()
