"""Count sketches: 4 rows of 16 signed bucket sums, keyed with a value that nobody knew in time to cheat.

A sketch is linear: the sum of the contributors' sketches is the sketch of the sum, which is zero where the
aggregate is right. A row of a vector has the vector's length on average, so what is wrong shows by its
size; the worst direction, two equal coordinates with opposite signs, escapes one row with probability
1/32 and all four with 1e-6.
"""

from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from btard.hashing import HASH_SIZE, Xof
from btard.robust.encoding import BUCKETS, ROWS

_BLOCK = 1 << 14  # coordinates decoded at once
_CACHED_BLOCKS = 512  # of 64 KiB, enough for a part of 8 million coordinates
_SIGNED = 2 * BUCKETS


class Sketcher:
    """The sketches under one sketch value (SKT-1).

    BLAKE3's stream for the value holds 4 bytes for each coordinate of the whole vector, one for each row:
    the low 4 bits are the bucket, the highest bit says that the sign is negative.
    """

    def __init__(self, r: bytes) -> None:
        """Take the 32-byte sketch value of a step; ValueError for any other size."""
        if len(r) != HASH_SIZE:
            raise ValueError(f"the sketch value has {len(r)} bytes; need {HASH_SIZE}")
        self._stream = Xof("sketch", r)
        self._codes = lru_cache(maxsize=_CACHED_BLOCKS)(self._decode)

    def rows(self, delta: Tensor, start: int) -> Tensor:
        """Return the sketch of a piece of a vector, float64 of shape [4, 16] on the CPU (SKT-2).

        Args:
            delta: the piece, 1-D float32 or float64, on any device.
            start: where it begins in the whole vector, so that the sketches of pieces add up.

        Accumulates in float64; the order of summation is nobody's business, see `tolerances`.
        """
        bins = np.zeros((2, _SIGNED * _SIGNED))
        position, end = start, start + delta.numel()
        while position < end:
            block, offset = divmod(position, _BLOCK)
            size = min(_BLOCK - offset, end - position)
            piece = delta[position - start : position - start + size].detach().double().cpu().numpy()
            codes = self._codes(block)[:, offset : offset + size]
            for row_pair in range(2):
                bins[row_pair] += np.bincount(codes[row_pair], piece, len(bins[row_pair]))
            position += size
        table = bins.reshape(2, _SIGNED, _SIGNED)
        signed = np.stack([table[0].sum(0), table[0].sum(1), table[1].sum(0), table[1].sum(1)])
        return torch.from_numpy(signed[:, :BUCKETS] - signed[:, BUCKETS:])

    def _decode(self, block: int) -> npt.NDArray[np.uint16]:
        """Return, for each coordinate of a block, one number for rows 0 and 1 and one for rows 2 and 3.

        The number is low + 32 * high, each the bucket of its row, plus 16 where the sign is negative: two
        rows share one histogram of 1024 bins, which halves the work.
        """
        self._stream.seek(ROWS * _BLOCK * block)
        pairs = np.frombuffer(self._stream.read(ROWS * _BLOCK), dtype="<u2").reshape(_BLOCK, 2).T
        packed = (pairs & 0x000F) | ((pairs >> 3) & 0x01F0) | ((pairs >> 6) & 0x0200)
        return np.ascontiguousarray(packed, dtype=np.uint16)
