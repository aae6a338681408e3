"""Gradients that hide among the others', which seeds make public."""

from __future__ import annotations

from statistics import NormalDist
from typing import ClassVar

import torch

from btard.attacks.base import Attack


class _Hidden(Attack):
    def _honest(self) -> torch.Tensor:
        """Return the gradients of all other contributors, one in a row."""
        others = [peer for peer in self.state.at.contributors if peer != self.me]
        return torch.stack([self.recomputed(peer) for peer in others])


class Ipm(_Hidden):
    """Inner-product manipulation: -``epsilon`` times the mean of the other contributors' gradients."""

    name: ClassVar[str] = "ipm"

    def __init__(self, from_step: int = 1, epsilon: float = 0.6) -> None:
        super().__init__(from_step)
        self.epsilon = epsilon

    def gradient(self, step: int, gradient: torch.Tensor) -> torch.Tensor:
        """Return the mean, turned round."""
        return -self.epsilon * self._honest().mean(0)


class Alie(_Hidden):
    """A little is enough: mean plus ``z`` standard deviations of the other contributors' gradients.

    Without ``z`` it is the largest that leaves the attackers with a majority nearer to them than to the mean,
    by Baruch et al. (NeurIPS 2019): the normal quantile of (n - f - s) / (n - f), s = floor(n / 2 + 1) - f.
    """

    name: ClassVar[str] = "alie"

    def __init__(self, from_step: int = 1, z: float | None = None) -> None:
        super().__init__(from_step)
        self.z = z

    def gradient(self, step: int, gradient: torch.Tensor) -> torch.Tensor:
        """Return the mean, moved by what passes for noise."""
        honest = self._honest()
        z = self.z
        if z is None:
            z = enough(len(self.state.at.contributors), self.peer.config.parameters.f_max)
        return honest.mean(0) + z * honest.std(0, unbiased=False)


def enough(contributors: int, attackers: int) -> float:
    """Return how many standard deviations are enough among so many contributors, at least 0."""
    supporters = max(0, contributors // 2 + 1 - attackers)
    honest = max(1, contributors - attackers)
    odds = (honest - supporters) / honest
    return NormalDist().inv_cdf(min(max(odds, 0.5), 0.9999))
