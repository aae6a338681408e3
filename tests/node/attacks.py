"""Attacks of the tests' own, named as users name theirs: FILE.py:Class."""

from __future__ import annotations

import math

import torch

from btard.attacks.base import Attack


class Everything(Attack):
    """An aggregate of one value alone; derive, and say which."""

    value = math.nan

    def aggregate(self, step: int, aggregate: torch.Tensor) -> torch.Tensor:
        return torch.full_like(aggregate, self.value)


class NanAggregate(Everything):
    name = "nan_aggregate"


class InfAggregate(Everything):
    name, value = "inf_aggregate", math.inf


class HugeAggregate(Everything):
    name, value = "huge_aggregate", 1e30


class LargestAggregate(Everything):
    name, value = "largest_aggregate", 3.4e38


class HugeGradient(Attack):
    """Contributes what float32 can just hold."""

    name = "huge_gradient"

    def gradient(self, step: int, gradient: torch.Tensor) -> torch.Tensor:
        return torch.full_like(gradient, 3.4e38)


class NoGradient(Attack):
    """Contributes nothing."""

    name = "no_gradient"

    def gradient(self, step: int, gradient: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(gradient)
