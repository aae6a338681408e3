"""The node of a Byzantine peer: the honest one, with an `Attack` between its parts."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Hashable
from typing import Any, Final

import torch
from attrs import define, field, frozen

from btard.attacks.base import Attack
from btard.node.peer import Peer
from btard.statemachine import compute as cp
from btard.statemachine import effects as fx
from btard.training.backend import Backend


class ByzantineBackend(Backend):
    """Computes what is right, and lets the attack replace it."""

    def __init__(self, *settings: Any, attack: Attack, **more: Any) -> None:
        super().__init__(*settings, **more)
        self._attack = attack
        attack.backend = self

    def compute(self, request: cp.Request) -> cp.Result:
        """Return what the attack makes of the result."""
        result = super().compute(request)
        if self._attack.active(request.step):
            match request, result:
                case cp.Prepare(own=cp.Work()), cp.Prepared():
                    result = self._contribution(request.step, result)
                case cp.Aggregate(), cp.Aggregated():
                    aggregate = self._attack.aggregate(request.step, self.store.vector(result.digest))
                    result = cp.Aggregated(self.store.add(aggregate, request.step))
        return self._attack.computed(request, result)

    def _contribution(self, step: int, honest: cp.Prepared) -> cp.Prepared:
        vector = self._attack.gradient(step, torch.cat([self.store.vector(name) for name in honest.parts]))
        pieces = self.split(vector, len(honest.parts))
        return cp.Prepared(tuple(self.store.add(piece, step) for piece in pieces), honest.entropy)


_START_AGAIN: Final = (
    "import os, sys, time; time.sleep(float(sys.argv[1])); os.execv(sys.argv[2], sys.argv[2:])"
)


@frozen(eq=False)
class _Later:
    """A timer of the attack's own: each is another."""

    effect: fx.Effect


@define(eq=False)
class ByzantinePeer(Peer):
    """Lets the attack replace what the state machine wants to be done."""

    attack: Attack = field(kw_only=True)

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self.attack.meet(self)

    def later(self, seconds: float, effect: fx.Effect) -> None:
        """Do something without the attack's say, in so many seconds."""
        self.host.set_timer(_Later(effect), seconds)

    def die(self, away: float | None = None) -> None:
        """End this process at once, as a power cut does; with ``away``, start it again in so many seconds."""
        if away is None:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.journal is not None:
            self.journal.flush()  # else it would come back in the phase before, and never get any further
        command = [sys.executable, *sys.orig_argv[1:]]
        os.execv(sys.executable, [sys.executable, "-c", _START_AGAIN, str(away), *command])

    def on_timer(self, timer: Hashable) -> None:
        """A timer ran out: it may be the attack's."""
        if isinstance(timer, _Later):
            super().perform(timer.effect)
        else:
            super().on_timer(timer)

    def perform(self, effect: fx.Effect) -> None:
        """Carry out what the attack makes of an effect."""
        lying = self.attack.active(self.state.at.number)
        for done in self.attack.performed(effect) if lying else (effect,):
            super().perform(done)
