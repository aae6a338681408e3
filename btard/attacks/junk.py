"""What is no message, and what is too large for one."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import ClassVar

import torch
from attrs import evolve

from btard.attacks.base import Attack
from btard.attacks.byzantine import ByzantinePeer
from btard.attacks.forging import NO_MESSAGE, Forgery, own_body, sign
from btard.statemachine.effects import Effect, Entered, Send
from btard.statemachine.messages import Body, Commit
from btard.statemachine.table import Phase
from btard.wire import max_frame, max_payload

_FRAMES = 8  # of garbage, in each step and to each peer


def _begins(effect: Effect) -> bool:
    return isinstance(effect, Entered) and effect.phase is Phase.COMMIT


class Oversize(Attack):
    """Sends what is larger than the protocol admits.

    ``kind`` says what: a ``frame`` above the limit in every step; a ``message`` whose payload is above its
    limit, in place of COMMIT; an ``object`` 64 times as long as the aggregate that it stands for.
    """

    name: ClassVar[str] = "oversize"
    kinds: ClassVar = ("frame", "message", "object")

    def __init__(self, from_step: int = 1, kind: str = "frame") -> None:
        super().__init__(from_step)
        if kind not in self.kinds:
            raise ValueError(f"kind is one of {', '.join(self.kinds)}")
        self.kind = kind

    def meet(self, peer: ByzantinePeer) -> None:
        """Get the means to sign."""
        super().meet(peer)
        self._forgery = Forgery(peer.config, self._bloated)

    def aggregate(self, step: int, aggregate: torch.Tensor) -> torch.Tensor:
        """Return an aggregate of another size."""
        return aggregate.repeat(64) if self.kind == "object" else aggregate

    def performed(self, effect: Effect) -> Iterable[Effect]:
        """Send too much."""
        if self.kind == "frame" and _begins(effect):
            for peer in self.others:
                self.peer.host.send(peer, bytes(max_frame(self.peer.config.peers) + 1))
        if self.kind == "message" and own_body(effect, self.me, Commit):
            return (self._forgery.instead(effect),)
        return (effect,)

    def _bloated(self, commit: Body) -> Body:
        assert isinstance(commit, Commit)
        hashes = max_payload(self.peer.config.peers) // 32 + 1
        return evolve(commit, parts=(bytes(32),) * hashes)


class Garbage(Attack):
    """Sends bytes that mean nothing: ``kind`` is ``signed`` (in place of COMMIT) or ``frames`` (unsigned)."""

    name: ClassVar[str] = "garbage"
    kinds: ClassVar = ("signed", "frames")

    def __init__(self, from_step: int = 1, kind: str = "signed") -> None:
        super().__init__(from_step)
        if kind not in self.kinds:
            raise ValueError(f"kind is one of {', '.join(self.kinds)}")
        self.kind = kind

    def performed(self, effect: Effect) -> Iterable[Effect]:
        """Send garbage."""
        if self.kind == "signed" and own_body(effect, self.me, Commit) and isinstance(effect, Send):
            return (evolve(effect, frame=sign(self.peer.config, self.me, NO_MESSAGE)),)
        if self.kind == "frames" and _begins(effect):
            draws = random.Random(self.state.at.number)
            for peer in self.others:
                for _ in range(_FRAMES):
                    self.peer.host.send(peer, draws.randbytes(draws.randrange(1, 4096)))
        return (effect,)
