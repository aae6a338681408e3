"""What optimizers need beside sums, products and quotients of tensors, with the same bits everywhere."""

import math

import torch
from torch import Tensor


def root(t: Tensor) -> Tensor:
    """Return the correctly rounded square roots of a float32 tensor (TRN-15).

    `torch.sqrt` is not correctly rounded: its last bit is a library's choice. In float64 such an error is
    too small to survive the rounding to float32: the root of a number of 24 bits never lies within 2**-50
    of the middle of two neighbours.
    """
    return t.double().sqrt().to(torch.float32)


def power(base: float, exponent: int) -> float:
    """Return base ** exponent, exponent >= 0, by repeated squaring: products of floats, in a fixed order."""
    result = 1.0
    while exponent > 0:
        if exponent & 1:
            result *= base
        base *= base
        exponent >>= 1
    return result


def half_wave(x: float) -> float:
    """Return (1 + cos(pi x)) / 2 for x in [0, 1], by sums and products alone, within 1e-15.

    The library's cosine differs between platforms in its last bit.
    """
    if x > 0.5:
        return 1.0 - half_wave(1.0 - x)
    square = (math.pi * x) * (math.pi * x)
    term = total = 1.0
    for k in range(2, 26, 2):
        term *= -square / (k * (k - 1))
        total += term
    return (1.0 + total) / 2
