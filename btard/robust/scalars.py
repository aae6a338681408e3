"""The numbers that stand for a vector in the protocol: its sketch and its norm."""

import math
from collections.abc import Iterator, Sequence

import attrs
import torch
from torch import Tensor

from btard.consensus import row_norm
from btard.robust.encoding import BUCKETS, ROWS, pack_norms, pack_rows
from btard.robust.sketch import Sketcher

_BLOCK = 1 << 18


@attrs.frozen(eq=False)
class Scalars:
    """What a peer broadcasts of one part."""

    rows: Tensor
    """Sketch of the clipped vector: float64, shape [4, 16], on the CPU."""
    norm: float
    """Euclidean length of the vector before it was clipped."""

    def packed_rows(self) -> bytes:
        """The sketch as it travels, 512 bytes."""
        return pack_rows(self.rows.tolist())

    def packed_norm(self) -> bytes:
        """The norm as it travels, 8 bytes."""
        return pack_norms([self.norm])


def scalars(g: Tensor, aggregate: Tensor, tau: float, sketcher: Sketcher, start: int) -> Scalars:
    """Return the scalars of a contributor's part (SKT-3).

    They are those of (g - aggregate) * min(1, tau / norm) with norm = ||g - aggregate||, the difference
    taken in float64.

    Args:
        g, aggregate: 1-D float32 of the same length on the same device, finite.
        tau: clipping radius, > 0 or `math.inf`.
        sketcher: sketches under the step's sketch value.
        start: where the part begins in the whole vector.
    """
    if g.shape != aggregate.shape or g.dim() != 1:
        raise ValueError(
            f"a part of shape {tuple(g.shape)} does not fit an aggregate of {tuple(aggregate.shape)}"
        )
    pairs = zip(torch.split(g, _BLOCK), torch.split(aggregate, _BLOCK), strict=True)
    return _scalars((part.double() - other.double() for part, other in pairs), tau, sketcher, start)


def plain(g: Tensor, tau: float, sketcher: Sketcher, start: int) -> Scalars:
    """Return a validator's scalars of a recomputed part: those of g * min(1, tau / ||g||) (VER-5).

    Takes what `scalars` takes.
    """
    return _scalars((part.double() for part in torch.split(g, _BLOCK)), tau, sketcher, start)


def _scalars(blocks: Iterator[Tensor], tau: float, sketcher: Sketcher, start: int) -> Scalars:
    """Sketch first and clip the sketch, which is linear: one pass over the data."""
    rows = torch.zeros(ROWS, BUCKETS, dtype=torch.float64)
    squares = 0.0
    for block in blocks:
        squares += (block * block).sum().item()
        rows += sketcher.rows(block, start)
        start += block.numel()
    norm = math.sqrt(squares)
    return Scalars(rows if norm <= tau else rows * (tau / norm), norm)


def rows_differ(
    own: Scalars,
    claimed_rows: Sequence[Sequence[float]],
    claimed_norm: float,
    row_tolerance: float,
    norm_tolerance: float,
) -> bool:
    """Whether claimed scalars are farther from one's own than they may be; NaN anywhere differs (TOL-3).

    Args:
        own: as the judge computed them.
        claimed_rows, claimed_norm: as they were broadcast, 4 rows of 16 buckets.
        row_tolerance: for the Euclidean length of the difference of a row.
        norm_tolerance: for the difference of the norms.
    """
    if not abs(own.norm - claimed_norm) <= norm_tolerance:
        return True
    for mine, claimed in zip(own.rows.tolist(), claimed_rows, strict=True):
        if not row_norm([a - b for a, b in zip(mine, claimed, strict=True)]) <= row_tolerance:
            return True
    return False
