"""A second look at a gradient that does not fit: where rounding decides, there is more than one true gradient.

A network with kinks (ReLU, max-pooling) has models at which a rounding error decides which side of a kink an
example lies on, and then a whole share of its gradient is there or not, whatever the tolerance. Two honest
peers of different numerics classes come to different sides now and then. So before a peer of a run with
mixed hardware finds a gradient wrong, it computes it again at models that differ from the true one by rounding
errors: what fits any of them is as right as what it has computed itself (spec TRN-21).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import torch

from btard.robust.scalars import Scalars
from btard.robust.tolerances import LOOKS, ROUNDING, Level
from btard.statemachine.compute import Work

Measure = Callable[[int, torch.Tensor], tuple[Scalars, float]]
"""Makes of a part and its number the scalars to compare, and the part's own length."""

Seen = Sequence[tuple[Scalars, float]]
"""What `Measure` made of each part of one gradient."""


class Recomputes(Protocol):
    """What a second look needs of the backend."""

    def recompute(self, work: Work, distance: float = 0.0) -> Sequence[torch.Tensor]:
        """Return a gradient's parts, at a model `distance` rounding errors from the true one."""


class SecondLook:
    """The other gradients that a peer may have got for one work; it keeps what was measured of them."""

    def __init__(self, backend: Recomputes, mixed: bool) -> None:
        self._backend = backend
        self._mixed = mixed
        self._key: object = None
        self._seen: list[Seen] = []

    def at(self, work: Work, what: object, measure: Measure, level: Level) -> Iterator[Seen]:
        """Yield what `measure` makes of one such gradient after the other; nothing where all are of one class.

        `what` names what `measure` does besides `work`: equal ones are not computed again.
        """
        if not self._mixed:
            return
        looks = LOOKS[level]
        if (key := (work, what, level)) != self._key:
            self._key, self._seen = key, []
        for number in range(looks.number):
            if number == len(self._seen):
                pieces = self._backend.recompute(work, looks.distance)
                self._seen.append([measure(part, piece) for part, piece in enumerate(pieces)])
            yield self._seen[number]


def nudged(parameters: torch.Tensor, distance: float) -> torch.Tensor:
    """Return parameters of the same shape, dtype and device, each moved by up to `distance` rounding errors.

    Nobody can foresee which way: a cheat that could would choose what only some of those who look come upon.
    """
    generator = torch.Generator().manual_seed(int.from_bytes(os.urandom(7), "little"))
    chance = torch.rand(parameters.shape, generator=generator, dtype=torch.float64) * 2 - 1
    moved = parameters.detach().double() * (1 + chance.to(parameters.device) * distance * ROUNDING)
    return moved.to(parameters.dtype)
