"""LATE on messages that are here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from attrs import evolve

from btard.attacks.base import Attack
from btard.attacks.forging import forge
from btard.statemachine.effects import Effect, Entered, Send, SetTimer
from btard.statemachine.messages import Late
from btard.statemachine.table import STEP_PHASES


class FalseLate(Attack):
    """Says of everybody, in every phase and as soon as it begins, that nothing came; in its COMMIT as well."""

    name: ClassVar[str] = "false_late"

    def performed(self, effect: Effect) -> Iterable[Effect]:
        """Sign LATE on all others."""
        if isinstance(effect, SetTimer) and effect.timer[0] == "phase":
            return  # it has said all that it could say then
        yield effect
        if isinstance(effect, Entered) and effect.phase in STEP_PHASES:
            for subject in self.others:
                yield self._late(Late(effect.step, int(effect.phase), subject, -1))

    def _late(self, late: Late) -> Send:
        said = forge(self.peer.config, self.state.epoch, late)
        if said.message is not None:  # the own state machine takes it for its own
            slots = self.state.slots.insert(said.message.slot, said)
            self.peer.state = evolve(self.state, slots=slots)
        return Send(self.others, said)
