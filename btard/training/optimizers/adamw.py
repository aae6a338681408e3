"""Adam with decoupled weight decay."""

from typing import Any

from torch import Tensor
from torch.optim.optimizer import ParamsT

from btard.training.optimizers.arithmetic import power, root
from btard.training.optimizers.base import LIMIT, ConsensusOptimizer, chunks, finite, kept

ADAM_OPTIONS = {
    "lr": finite(0),
    "beta1": finite(0, 1),
    "beta2": finite(0, 1),
    "eps": finite(0),
    "weight_decay": finite(0),
    "max_gradient_norm": LIMIT,
}
"""The options of AdamW and LAMB."""


class AdamW(ConsensusOptimizer):
    """What `torch.optim.AdamW` does, in consensus arithmetic (TRN-14)."""

    options = ADAM_OPTIONS

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        max_gradient_norm: float | None = None,
    ) -> None:
        """Raises ValueError or TypeError as `add_param_group`."""
        options = {"lr": lr, "beta1": betas[0], "beta2": betas[1], "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, options | {"max_gradient_norm": max_gradient_norm})

    def _advance(self, p: Tensor, g: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        first, second = moments(p, state)
        shrink = 1.0 - group["lr"] * group["weight_decay"]
        for piece, gradient, m, v in chunks(p, g, first, second):
            update = adam_direction(gradient, m, v, state["step"], group)
            piece.mul_(shrink).sub_(update * group["lr"])


def moments(p: Tensor, state: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """Return the averages of gradients and of their squares, and count a step."""
    state["step"] = state.get("step", 0) + 1
    return kept(state, "mean", p), kept(state, "mean_square", p)


def adam_direction(g: Tensor, m: Tensor, v: Tensor, step: int, group: dict[str, Any]) -> Tensor:
    """Return m' / (sqrt(v') + eps), m' and v' the bias-corrected averages, after updating both with `g`."""
    beta1, beta2 = group["beta1"], group["beta2"]
    m.mul_(beta1).add_(g * (1.0 - beta1))
    v.mul_(beta2).add_((g * g).mul_(1.0 - beta2))
    unbiased_root = root(v * (1.0 / (1.0 - power(beta2, step))))
    return (m * (1.0 / (1.0 - power(beta1, step)))).div_(unbiased_root.add_(group["eps"]))
