"""LAMB: Adam's direction, with a step for each layer in proportion to the layer's length."""

from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from btard.robust.arithmetic import consensus_norm
from btard.training.optimizers.adamw import ADAM_OPTIONS, adam_direction, moments
from btard.training.optimizers.base import LARGEST, ConsensusOptimizer, chunks


class LAMB(ConsensusOptimizer):
    """You et al. 2020, with bias correction, in consensus arithmetic (TRN-14, TRN-16).

    For each parameter tensor x: r = m' / (sqrt(v') + eps) + weight_decay * x, and x loses lr * t * r with the
    trust ratio t = |x| / |r|, or 1 where one of them is zero. With weight decay 0.01 and a
    `max_gradient_norm` of 1 it is the optimizer of the BTARD paper's ALBERT runs.
    """

    options = ADAM_OPTIONS

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.01,
        max_gradient_norm: float | None = 1.0,
    ) -> None:
        """Raises ValueError or TypeError as `add_param_group`."""
        options = {"lr": lr, "beta1": betas[0], "beta2": betas[1], "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, options | {"max_gradient_norm": max_gradient_norm})

    def _advance(self, p: Tensor, g: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        first, second = moments(p, state)
        update = torch.empty_like(p, memory_format=torch.contiguous_format)
        for piece, gradient, m, v, part in chunks(p, g, first, second, update):
            direction = adam_direction(gradient, m, v, state["step"], group)
            torch.add(direction, piece * group["weight_decay"], out=part)
        rate = min(group["lr"] * _trust_ratio(p, update), LARGEST)
        for piece, part in chunks(p, update):
            piece.sub_(part.mul_(rate))


def _trust_ratio(p: Tensor, update: Tensor) -> float:
    length, change = consensus_norm(p.reshape(-1)), consensus_norm(update.reshape(-1))
    return length / change if length > 0 and change > 0 else 1.0
