"""Consensus arithmetic on tensors: the same bits on every device, whatever its threads and instructions.

Elementwise operations in float64 in a fixed order only; torch's reductions add in an order that depends on
the machine.
"""

import math

import torch
from torch import Tensor

_BLOCK = 1 << 18  # part of the definition


def consensus_norm(t: Tensor) -> float:
    """Return the Euclidean length of a 1-D float32 tensor, bit-identical on all hardware (CNS-7).

    The tree is fixed: the entries, as float64, are squared (exactly) and cut into blocks of 2**18, the last
    one filled up with zeros; within a block, the second half is added to the first until one number is
    left. The blocks' numbers, filled up with zeros to a power of two, are added in the same way. The result
    is the square root. NaN and infinities propagate. Raises ValueError for any other tensor.
    """
    if t.dim() != 1 or t.dtype != torch.float32:
        raise ValueError(f"the tensor is {t.dtype} of shape {tuple(t.shape)}; need 1-D float32")
    sums = torch.stack([_halved(_squares(block)) for block in torch.split(t, _BLOCK)])
    return math.sqrt(_halved(_filled(sums, 1 << (len(sums) - 1).bit_length())).item())


def _squares(block: Tensor) -> Tensor:
    entries = block.double()
    # Zeros that fill up more than the next power of two change no sum: the definition's tree, cheaper.
    return _filled(entries * entries, 1 << max(0, len(entries) - 1).bit_length())


def _filled(numbers: Tensor, size: int) -> Tensor:
    return torch.cat([numbers, numbers.new_zeros(size - len(numbers))])


def _halved(numbers: Tensor) -> Tensor:
    while len(numbers) > 1:
        half = len(numbers) // 2
        numbers = numbers[:half] + numbers[half:]
    return numbers[0]
