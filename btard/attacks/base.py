"""What a Byzantine peer does otherwise: override a method, leave the rest honest.

An attacker is a real peer of the real node, which goes on computing honestly; an attack sees all of it, and may
replace its vectors, what else it computes, and what it sends. How the others treat it is up to the protocol.
Users write their own by deriving from `Attack` and naming the class as `FILE.py:Class`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

import torch

from btard.statemachine import compute as cp
from btard.statemachine.effects import Effect
from btard.statemachine.election import gradient_seed

if TYPE_CHECKING:
    from btard.attacks.byzantine import ByzantineBackend, ByzantinePeer
    from btard.statemachine.state import State


class Attack:
    """The honest peer: every hook returns what it was given."""

    name: ClassVar[str] = "honest"
    backend: ByzantineBackend  # the own: task, parameters, vectors; for the hooks that compute
    peer: ByzantinePeer  # the own: configuration, host, and the state machine's state

    def __init__(self, from_step: int = 1) -> None:
        self.from_step = from_step

    def active(self, step: int) -> bool:
        """Whether the attack has begun in ``step``."""
        return step >= self.from_step

    # -- hooks ------------------------------------------------------------------------------------------

    def meet(self, peer: ByzantinePeer) -> None:
        """Get to know the own peer, once, before it begins. Raise AttackError where the attack cannot be."""
        self.peer = peer

    def gradient(self, step: int, gradient: torch.Tensor) -> torch.Tensor:
        """Return the vector to contribute, shape (dimension,), float32, in place of the honest one."""
        return gradient

    def aggregate(self, step: int, aggregate: torch.Tensor) -> torch.Tensor:
        """Return the vector to broadcast in place of the honest aggregate of the own part."""
        return aggregate

    def computed(self, request: cp.Request, result: cp.Result) -> cp.Result:
        """Return what to take for the result of any computation, in steps before the attack as well."""
        return result

    def performed(self, effect: Effect) -> Iterable[Effect]:
        """Return what to do in place of what the state machine wants to be done."""
        return (effect,)

    # -- what attackers know and do ---------------------------------------------------------------------

    @property
    def me(self) -> int:
        """The own index."""
        return self.peer.config.me

    @property
    def state(self) -> State:
        """The own state machine's state."""
        return self.peer.state

    @property
    def contributes(self) -> bool:
        """Whether the own gradient counts in this step."""
        return self.me in self.state.at.contributors

    @property
    def own_part(self) -> int:
        """The part that this peer aggregates in this step."""
        return self.state.at.aggregators.index(self.me)

    @property
    def others(self) -> tuple[int, ...]:
        """The other members."""
        return tuple(peer for peer in self.state.roster if peer != self.me)

    def recomputed(self, peer: int) -> torch.Tensor:
        """Return what ``peer`` has to contribute to this step, shape (dimension,): seeds are public."""
        state = self.state
        seed = gradient_seed(self.peer.config.run, state.election_value, state.at.number, peer)
        work = cp.Work(peer, state.at.number, seed, len(state.roster))
        return torch.cat(self.backend.recompute(work))


def indices(partners: float | str) -> list[int]:
    """Return the other attackers that an option ``partner=1+4`` names. Raises ValueError for anything else."""
    if isinstance(partners, float):
        return [int(partners)]
    if not all(piece.isdecimal() for piece in partners.split("+") if partners):
        raise ValueError("partner is one index or several joined by +, as in partner=1+4")
    return [int(piece) for piece in partners.split("+") if piece]
