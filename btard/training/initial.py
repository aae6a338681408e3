"""First parameters of a model, drawn from a seed with the same bits on every platform."""

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from btard.hashing import xof

_CHUNK = 1 << 20
"""Numbers drawn at a time, so that a large tensor needs little memory besides its own."""


def initialise_(module: nn.Module, seed: bytes) -> None:
    """Set every parameter of `module`, in place, from a seed (TRN-4).

    * Two or more dimensions: uniform in (-b, b), b = sqrt(3 / fan-in), where the fan-in is the number of
      entries of one output, `parameter[0]`; so the variance is 1 / fan-in. Every parameter has a byte stream
      of its own, by its name.
    * One dimension and a name that ends in `weight` (the scale of a normalisation): one.
    * Anything else (biases): zero.

    torch's own `init` functions draw other numbers on other instruction sets; here integers from BLAKE3 go
    through correctly rounded elementwise operations only. Buffers are left as they are.

    Raises TypeError where a parameter is not a floating-point tensor.
    """
    for name, parameter in module.named_parameters():
        if not parameter.is_floating_point():
            raise TypeError(f"parameter {name} is {parameter.dtype}; only floating-point parameters can be set")
        with torch.no_grad():
            if parameter.ndim >= 2:
                parameter.copy_(_uniform(parameter, name, seed))
            else:
                parameter.fill_(1.0 if parameter.ndim == 1 and name.split(".")[-1] == "weight" else 0.0)


def _uniform(parameter: nn.Parameter, name: str, seed: bytes) -> torch.Tensor:
    bound = math.sqrt(3 / max(1, parameter[0].numel()))
    stream = xof("initial parameters", seed, name.encode())
    values = np.empty(parameter.numel(), dtype=np.float32)
    for start in range(0, values.size, _CHUNK):
        chunk = values[start : start + _CHUNK]
        chunk[:] = _centred(stream.read(4 * chunk.size)) * bound
    return torch.from_numpy(values).view(parameter.shape)


def _centred(block: bytes) -> npt.NDArray[np.float64]:
    """Map each 4 bytes to the middle of one of 2**24 equal intervals of (-1, 1), exactly; never to zero."""
    words = np.frombuffer(block, dtype="<u4") >> 8
    return (words.astype(np.float64) * 2 + (1 - 2**24)) / 2**24
