"""Stochastic gradient descent with momentum."""

from typing import Any, ClassVar

from torch import Tensor
from torch.optim.optimizer import ParamsT

from btard.training.optimizers.base import FLAG, LIMIT, ConsensusOptimizer, chunks, finite, kept


class SGD(ConsensusOptimizer):
    """What `torch.optim.SGD` does without dampening, in consensus arithmetic (TRN-14).

    With Nesterov momentum 0.9 and weight decay 5e-4 it is the optimizer of the BTARD paper's CIFAR-10 runs.
    """

    options: ClassVar = {
        "lr": finite(0),
        "momentum": finite(0, 1),
        "weight_decay": finite(0),
        "nesterov": FLAG,
        "max_gradient_norm": LIMIT,
    }

    def __init__(
        self,
        params: ParamsT,
        lr: float,
        *,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        max_gradient_norm: float | None = None,
    ) -> None:
        """Raises ValueError or TypeError as `add_param_group`."""
        options = {"lr": lr, "momentum": momentum, "nesterov": nesterov, "weight_decay": weight_decay}
        super().__init__(params, options | {"max_gradient_norm": max_gradient_norm})

    def _advance(self, p: Tensor, g: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        lr, momentum, decay = group["lr"], group["momentum"], group["weight_decay"]
        velocity = [kept(state, "velocity", p)] if momentum else []
        for piece, gradient, *buffers in chunks(p, g, *velocity):
            step = gradient + piece * decay if decay else gradient
            for buffer in buffers:
                buffer.mul_(momentum).add_(step)
                step = step + buffer * momentum if group["nesterov"] else buffer
            piece.sub_(step * lr)
