"""Attacks of the tests' own, named as users name theirs: FILE.py:Class."""

from __future__ import annotations

import math
import os
import signal

import torch

from btard.attacks.base import Attack


class CtrlC(Attack):
    """Not an attack at all: somebody presses Ctrl-C while the peer computes its gradient."""

    name = "ctrl_c"

    def gradient(self, step: int, gradient: torch.Tensor) -> torch.Tensor:
        os.kill(os.getpid(), signal.SIGINT)
        return gradient


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
