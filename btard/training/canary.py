"""The canary: a gradient from a public seed, by which peers compare their arithmetic (TRN-10, TRN-20)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from attrs import frozen

from btard.consensus import Draws
from btard.hashing import digest
from btard.robust.partition import bounds
from btard.robust.scalars import plain
from btard.robust.sketch import Sketcher
from btard.training.loading import TaskError
from btard.training.tensor_file import raw_bytes

if TYPE_CHECKING:
    import torch

    from btard.training.task import Task

MAX_PARTS: Final = 16
"""Parts whose scalars are compared, however many peers there are, so that a hello stays small."""

_SEED: Final = digest("canary seed")
_SKETCH_VALUE: Final = digest("canary sketch")


@frozen
class Canary:
    """A gradient at the present parameters."""

    digest: bytes
    scalars: bytes
    """For each compared part its sketch and its norm (spec TRN-20), `deviation.RECORD_SIZE` bytes each."""


def canary(task: Task, parts: int, seed: bytes = _SEED) -> Canary:
    """Return the canary of a run of so many parts; peers compare it at the initial parameters (TRN-10, TRN-20).

    Raises TaskError, in one line, where the task cannot compute a gradient.
    """
    try:
        gradient = task.gradient(seed)
    except Exception as error:  # a user's class may raise anything
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise TaskError(f"{type(task).__name__} cannot compute a gradient: {reason}") from error
    return Canary(digest("canary", raw_bytes(gradient)), part_scalars(gradient, parts, _SKETCH_VALUE))


def part_scalars(gradient: torch.Tensor, parts: int, sketch_value: bytes) -> bytes:
    """Return the scalars of a gradient's compared parts, as judges compute them but not clipped (TRN-20)."""
    sketcher, cuts = Sketcher(sketch_value), bounds(gradient.numel(), parts)
    records = []
    for part in compared_parts(parts):
        start, end = cuts[part]
        own = plain(gradient[start:end], math.inf, sketcher, start)
        records.append(own.packed_rows() + own.packed_norm())
    return b"".join(records)


def compared_parts(parts: int) -> tuple[int, ...]:
    """Return which parts are compared: all, or MAX_PARTS that are drawn from them (TRN-20)."""
    if parts <= MAX_PARTS:
        return tuple(range(parts))
    return tuple(sorted(Draws("canary parts").sample(MAX_PARTS, parts)))
