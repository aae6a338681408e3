"""What is no number."""

from __future__ import annotations

import math
from typing import ClassVar

import torch

from btard.attacks.base import Attack


class Nan(Attack):
    """Contributes one NaN and one infinity, in two parts: it aggregates at most one of the two itself."""

    name: ClassVar[str] = "nan"

    def gradient(self, step: int, gradient: torch.Tensor) -> torch.Tensor:
        """Return the gradient with its first and its last number spoilt."""
        spoilt = gradient.clone()
        spoilt[0], spoilt[-1] = math.nan, math.inf
        return spoilt
