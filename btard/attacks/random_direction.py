"""A random direction, as in the BTARD paper."""

from __future__ import annotations

from typing import ClassVar

import torch

from btard.attacks.base import Attack
from btard.hashing import digest


class RandomDirection(Attack):
    """Contributes a vector ``factor`` times as long as its gradient, in one direction for all attackers.

    The direction follows from the run id, so attackers need not talk to each other.
    """

    name: ClassVar[str] = "random_direction"

    def __init__(self, from_step: int = 1, factor: float = 1000.0) -> None:
        super().__init__(from_step)
        self.factor = factor

    def gradient(self, step: int, gradient: torch.Tensor) -> torch.Tensor:
        """Return the vector that all attackers agree on."""
        number = int.from_bytes(digest("random direction", self.peer.config.run)[:7], "little")
        direction = torch.randn(len(gradient), generator=torch.Generator().manual_seed(number))
        scale = self.factor * gradient.norm().item() / direction.norm().item()
        scaled: torch.Tensor = direction * scale
        return scaled
