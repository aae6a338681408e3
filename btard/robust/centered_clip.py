"""CenteredClip: the fixed point v of sum_i clip(v_i - v, tau) = 0, at the cost of two passes over the data.

clip(x, tau) = x * min(1, tau / ||x||). The fixed point is a weighted mean of its inputs, so it is found in
n coefficients from the n x n matrix of inner products; only that matrix and the final mean touch the
vectors (BTARD paper: CenteredClip; this way of solving it is ours).

Nothing here has to be reproducible: an aggregate is judged by its residual, whoever computed it how.
All accumulation is in float64, in blocks, so that memory beyond the inputs stays small.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from btard.robust.fixed_point import PRECISION, Array, central_half, fixed_point

_CPU_BLOCK = 1 << 15  # n = 16 rows of float64 are 4 MiB; smaller blocks pay for calls, larger for memory
_CUDA_BLOCK = 1 << 20
_MAX_RECENTRES = 4


def centered_clip(vectors: Sequence[Tensor], tau: float) -> Tensor:
    """Return the CenteredClip aggregate of `vectors` as float32, on their device (AGG-2).

    Args:
        vectors: at least one vector, all 1-D float32 of the same length on the same device, all finite. The
            caller puts zeros where a vector holds NaN or an infinity.
        tau: clipping radius, > 0. With `math.inf` nothing is clipped and the result is the plain mean.

    The residual of the result is at most `tolerances.nu(len(vectors), ||result||, tau)`, whatever finite
    numbers the vectors hold. The result lies in their convex hull, so it is finite. Where the fixed point
    is not unique (an even split), it is one of them.

    Raises ValueError for any other input.
    """
    _check(vectors)
    if not tau > 0:
        raise ValueError(f"tau is {tau}; it must be positive")
    result = _weighted_sum(vectors, _weights(vectors, tau))
    if not math.isfinite(result.sum(dtype=torch.float64).item()):
        raise ValueError("a vector holds NaN or an infinity; replace it by zeros first")
    return result


def distances(vectors: Sequence[Tensor], v: Tensor) -> tuple[float, ...]:
    """Return the Euclidean distance of each vector to `v`, computed in float64.

    Takes what `centered_clip` takes, and `v` of the same shape and type.
    """
    _check([*vectors, v])
    return tuple(_distances(vectors, v).tolist())


def residual_norm(vectors: Sequence[Tensor], v: Tensor, tau: float) -> float:
    """Return the Euclidean length of sum_i clip(v_i - v, tau), computed in float64 (AGG-3).

    Takes what `centered_clip` takes, and `v` of the same shape and type; NaN if `v` is not finite.
    """
    _check([*vectors, v])
    norms = _distances(vectors, v)
    factors = torch.where(norms > tau, tau / norms, torch.ones_like(norms))
    square = torch.zeros((), dtype=torch.float64, device=v.device)
    for block, rows in _blocks(vectors):
        rows -= v[block].double()
        clipped = factors @ rows
        square += (clipped * clipped).sum()
    return math.sqrt(square.item())


def _distances(vectors: Sequence[Tensor], v: Tensor) -> Tensor:
    squares = torch.zeros(len(vectors), dtype=torch.float64, device=v.device)
    for block, rows in _blocks(vectors):
        rows -= v[block].double()
        squares += (rows * rows).sum(dim=1)
    return squares.sqrt()


def _check(vectors: Sequence[Tensor]) -> None:
    if not vectors:
        raise ValueError("no vectors; CenteredClip needs at least one")
    first = vectors[0]
    for vector in vectors:
        if vector.dim() != 1 or vector.dtype != torch.float32:
            raise ValueError(f"a vector is {vector.dtype} of shape {tuple(vector.shape)}; need 1-D float32")
        if vector.shape != first.shape or vector.device != first.device:
            raise ValueError("the vectors differ in length or device")


def _weights(vectors: Sequence[Tensor], tau: float) -> Array:
    """Return the weights (>= 0, sum 1) of the vectors in the result, any where a vector is not finite."""
    even = np.full(len(vectors), 1.0 / len(vectors))
    if math.isinf(tau):
        return even
    gram = _gram(vectors, None)
    if not np.isfinite(gram).all():
        return even
    point = fixed_point(gram, central_half(gram), tau)
    for _ in range(_MAX_RECENTRES):
        if point.noise <= PRECISION:
            break
        centre = point.weights
        point = fixed_point(_gram(vectors, centre), centre, tau)
    return point.weights


def _blocks(vectors: Sequence[Tensor]) -> Iterator[tuple[slice, Tensor]]:
    """Yield (coordinates, float64 rows) block by block; the rows are overwritten by the next block."""
    first = vectors[0]
    size = max(1, min(first.numel(), _CUDA_BLOCK if first.is_cuda else _CPU_BLOCK))
    buffer = torch.empty(len(vectors), size, dtype=torch.float64, device=first.device)
    for start in range(0, first.numel(), size):
        block = slice(start, min(start + size, first.numel()))
        rows = buffer[:, : block.stop - block.start]
        for row, vector in zip(rows, vectors, strict=True):
            row.copy_(vector[block])
        yield block, rows


def _gram(vectors: Sequence[Tensor], centre: Array | None) -> Array:
    """Return the inner products of the vectors, less their mean with the weights `centre` where given."""
    device = vectors[0].device
    gram = torch.zeros(len(vectors), len(vectors), dtype=torch.float64, device=device)
    weights = None if centre is None else torch.from_numpy(centre).to(device)
    for _, rows in _blocks(vectors):
        if weights is not None:
            rows -= weights @ rows
        gram.addmm_(rows, rows.T)
    products: Array = gram.cpu().numpy()
    return products


def _weighted_sum(vectors: Sequence[Tensor], weights: Array) -> Tensor:
    result = torch.empty_like(vectors[0], memory_format=torch.contiguous_format)
    factors = torch.from_numpy(weights).to(result.device)
    for block, rows in _blocks(vectors):
        result[block] = factors @ rows
    return result
