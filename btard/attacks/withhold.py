"""Vectors that do not come, and complaints about vectors that did."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from attrs import evolve

from btard.attacks.base import Attack
from btard.attacks.forging import forge, own_body
from btard.statemachine.config import faults
from btard.statemachine.effects import Effect, Entered, Offer, Send, SetTimer
from btard.statemachine.messages import Need, Publish, Reduce, phase_slot
from btard.statemachine.table import Phase


class WithholdPart(Attack):
    """Serves nobody its parts until it is asked in public.

    ``answer`` says whom it tells and serves then: ``none``, ``some`` (every other member) or ``all``.
    """

    name: ClassVar[str] = "withhold_part"
    answers: ClassVar = ("none", "some", "all")

    def __init__(self, from_step: int = 1, answer: str = "none") -> None:
        super().__init__(from_step)
        if answer not in self.answers:
            raise ValueError(f"answer is one of {', '.join(self.answers)}")
        self.answer = answer

    @property
    def told(self) -> tuple[int, ...]:
        """Who gets an answer."""
        return {"none": (), "some": self.others[::2], "all": self.others}[self.answer]

    def performed(self, effect: Effect) -> Iterable[Effect]:
        """Serve nothing unasked, and then only whom it chooses."""
        match effect:
            case Offer(digest=digest, to=to) if digest in self.state.at.own_parts:
                return () if to is not None or not self.told else (evolve(effect, to=self.told),)
            case Send() if own_body(effect, self.me, Publish):
                return (evolve(effect, to=tuple(peer for peer in effect.to if peer in self.told)),)
        return (effect,)


class WithholdAggregate(Attack):
    """Serves its aggregate to ``to``: ``one`` other member alone, another in each step, or ``none``."""

    name: ClassVar[str] = "withhold_aggregate"

    def __init__(self, from_step: int = 1, to: str = "none") -> None:
        super().__init__(from_step)
        if to not in ("one", "none"):
            raise ValueError("to is one of one, none")
        self.to = to

    def performed(self, effect: Effect) -> Iterable[Effect]:
        """Serve it to few."""
        if not isinstance(effect, Offer) or effect.digest != self._aggregate():
            return (effect,)
        chosen = self.others[self.state.at.number % len(self.others)]
        return (evolve(effect, to=(chosen,)),) if self.to == "one" else ()

    def _aggregate(self) -> bytes | None:
        state = self.state
        said = state.slots.get(phase_slot(state.epoch, state.at.number, Phase.REDUCE, self.me))
        body = said.message.body if said and said.message else None
        return body.aggregate if isinstance(body, Reduce) else None


class FalseNeed(Attack):
    """Says at once that it lacks as many parts as it may name; to ``to``: ``all``, or ``one``."""

    name: ClassVar[str] = "false_need"

    def __init__(self, from_step: int = 1, to: str = "all") -> None:
        super().__init__(from_step)
        if to not in ("all", "one"):
            raise ValueError("to is one of all, one")
        self.to = to

    def performed(self, effect: Effect) -> Iterable[Effect]:
        """Ask for what will be there."""
        if isinstance(effect, SetTimer) and effect.timer[0] == "bulk":
            return  # it has said what it needs
        yield effect
        if isinstance(effect, Entered) and effect.phase is Phase.REDUCE:
            state, me = self.state, self.me
            contributors = [peer for peer in state.at.contributors if peer != me]
            if subjects := tuple(contributors[: faults(len(state.roster))]):
                need = forge(self.peer.config, state.epoch, Need(state.at.number, subjects))
                if need.message is not None:  # the own state machine takes it for its own
                    self.peer.state = evolve(state, slots=state.slots.insert(need.message.slot, need))
                yield Send(self.others if self.to == "all" else self.others[:1], need)
