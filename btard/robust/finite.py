"""NaN and infinities: what holds one counts as the zero vector (spec VER-3, VER-4)."""

import math

import torch
from torch import Tensor


def is_finite(vector: Tensor) -> bool:
    """Whether every entry of a float32 vector, shape (length,), is finite.

    One float64 sum instead of a mask: float32 entries cannot overflow it, NaN and infinities survive it.
    """
    return math.isfinite(vector.sum(dtype=torch.float64).item())


def finite_or_zero(vector: Tensor) -> Tensor:
    """Return the vector, or zeros in its place if anything in it is not finite."""
    return vector if is_finite(vector) else torch.zeros_like(vector)
