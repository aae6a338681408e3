"""Flipped labels, as in the BTARD paper."""

from __future__ import annotations

from typing import ClassVar

import torch

from btard.attacks.base import Attack
from btard.attacks.byzantine import ByzantinePeer
from btard.attacks.names import AttackError


class LabelFlip(Attack):
    """Contributes the gradient of its batch with labels ``classes - 1 - y``."""

    name: ClassVar[str] = "label_flip"

    def meet(self, peer: ByzantinePeer) -> None:
        """Find the labels: whole numbers in the task's data, one for each example."""
        super().meet(peer)
        task = self.backend.task
        self._labels = [
            tensor
            for tensor in task.data
            if tensor.shape == (task.examples,) and tensor.dtype in (torch.int32, torch.int64)
        ]
        if not self._labels:
            raise AttackError(
                f"attack 'label_flip': the data of {type(task).__name__} hold no labels to flip "
                "(a tensor of integers, one for each example)"
            )

    def gradient(self, step: int, gradient: torch.Tensor) -> torch.Tensor:
        """Return the gradient for the wrong labels; the data are as before afterwards."""
        self._flip()
        try:
            return self.recomputed(self.me)
        finally:
            self._flip()

    def _flip(self) -> None:
        for labels in self._labels:
            labels.copy_(labels.min() + labels.max() - labels)
