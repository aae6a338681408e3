"""What a Byzantine peer does otherwise: override a method, leave the rest honest.

An attacker is a real peer of the real node. It holds its own honest numbers and may replace each before it is
committed; how the others treat it is up to the protocol. Users write their own by deriving from `Attack` and
naming the class as `FILE.py:Class`.
"""

from __future__ import annotations

from typing import ClassVar

import torch


class Attack:
    """The honest peer: every hook returns what it was given."""

    name: ClassVar[str] = "honest"

    def __init__(self, from_step: int = 1) -> None:
        self.from_step = from_step

    def active(self, step: int) -> bool:
        """Whether the attack has begun in ``step``."""
        return step >= self.from_step

    def gradient(self, step: int, gradient: torch.Tensor) -> torch.Tensor:
        """Return the vector to contribute, shape (dimension,), float32, in place of the honest one."""
        return gradient

    def aggregate(self, step: int, aggregate: torch.Tensor) -> torch.Tensor:
        """Return the vector to broadcast in place of the honest aggregate of the own part."""
        return aggregate
