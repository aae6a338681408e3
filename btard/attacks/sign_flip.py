"""Sign flipping, as in the BTARD paper."""

from __future__ import annotations

from typing import ClassVar

import torch

from btard.attacks.base import Attack


class SignFlip(Attack):
    """Contributes the honest gradient times -1000."""

    name: ClassVar[str] = "sign_flip"

    def __init__(self, from_step: int = 1, factor: float = -1000.0) -> None:
        super().__init__(from_step)
        self.factor = factor

    def gradient(self, step: int, gradient: torch.Tensor) -> torch.Tensor:
        """Return the flipped and enlarged gradient."""
        return gradient * self.factor
