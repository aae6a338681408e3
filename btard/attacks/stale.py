"""Gradients that are out of date."""

from __future__ import annotations

from collections import deque
from typing import ClassVar

import torch

from btard.attacks.base import Attack
from btard.attacks.byzantine import ByzantinePeer
from btard.statemachine import compute as cp
from btard.statemachine.election import gradient_seed


class DelayedGradient(Attack):
    """Contributes the gradient of its batch at the parameters of ``steps`` steps ago, or the first ones."""

    name: ClassVar[str] = "delayed_gradient"

    def __init__(self, from_step: int = 1, steps: float = 20) -> None:
        super().__init__(from_step)
        self._past: deque[torch.Tensor] = deque(maxlen=max(1, int(steps)) + 1)

    def meet(self, peer: ByzantinePeer) -> None:
        """Keep the first parameters."""
        super().meet(peer)
        self._past.append(self.backend.task.parameters_vector())

    def computed(self, request: cp.Request, result: cp.Result) -> cp.Result:
        """Keep the parameters behind every step."""
        if isinstance(request, cp.Apply):
            self._past.append(self.backend.task.parameters_vector())
        return result

    def gradient(self, step: int, gradient: torch.Tensor) -> torch.Tensor:
        """Return the gradient at the oldest parameters that are kept."""
        seed = gradient_seed(self.peer.config.run, self.state.election_value, step, self.me)
        return self.backend.task.gradient_at(self._past[0], seed)


class Lazy(Attack):
    """Contributes its own gradient of ``steps`` steps ago, or its first: it computes nothing new."""

    name: ClassVar[str] = "lazy"

    def __init__(self, from_step: int = 1, steps: float = 10) -> None:
        super().__init__(from_step)
        self.steps = max(1, int(steps))
        self._past: deque[tuple[int, torch.Tensor]] = deque()

    def gradient(self, step: int, gradient: torch.Tensor) -> torch.Tensor:
        """Return what it would have contributed then."""
        self._past.append((step, gradient))
        while len(self._past) > 1 and self._past[1][0] <= step - self.steps:
            self._past.popleft()
        return self._past[0][1]
