"""A small shift of the attacker's part of the aggregate."""

from __future__ import annotations

import math
from typing import ClassVar

import torch

from btard.attacks.base import Attack


class BadAggregate(Attack):
    """Shifts the aggregate of its own part by a dense vector of length ``shift``.

    ``shift`` is absolute: 3e-4 is 1e-3 of tau = 0.3.
    """

    name: ClassVar[str] = "bad_aggregate"

    def __init__(self, from_step: int = 1, shift: float = 3e-4) -> None:
        super().__init__(from_step)
        self.shift = shift

    def aggregate(self, step: int, aggregate: torch.Tensor) -> torch.Tensor:
        """Return the aggregate with every coordinate moved by the same amount."""
        return aggregate + self.shift / math.sqrt(max(1, aggregate.numel()))
