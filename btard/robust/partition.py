"""How a vector is cut into parts: contiguous, in order, nearly equal (AGG-1)."""

from itertools import pairwise


def bounds(dimension: int, parts: int) -> tuple[tuple[int, int], ...]:
    """Return (start, end) of each of `parts` parts of a vector with `dimension` coordinates.

    The first `dimension % parts` parts have one coordinate more than the others. Raises ValueError unless
    1 <= parts <= dimension, so that no part is empty.
    """
    if not 1 <= parts <= dimension:
        raise ValueError(f"cannot cut {dimension} coordinates into {parts} parts; need at least one for each")
    size, longer = divmod(dimension, parts)
    starts = [part * size + min(part, longer) for part in range(parts + 1)]
    return tuple(pairwise(starts))
