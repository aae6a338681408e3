"""Learning rates that follow from the step alone, with the same bits everywhere."""

from typing import Any, Literal, get_args

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from btard.training.optimizers.arithmetic import half_wave

Decay = Literal["constant", "linear", "cosine"]


class ConsensusSchedule(LRScheduler):
    """Linear warm-up, then a constant rate, or one that falls to `final` times the base rate (TRN-17).

    Step 1 of `warmup` has 1 / warmup of the base rate, and step `warmup` all of it; step `total` is the last
    before the rate stays at `final` (of no account for "constant").
    """

    def __init__(
        self,
        optimizer: Optimizer,
        decay: Decay = "constant",
        *,
        warmup: int = 0,
        total: int = 0,
        final: float = 0,
    ) -> None:
        """Raises ValueError where an option is out of its range."""
        if decay not in get_args(Decay):
            raise ValueError(f"decay is {decay!r}; it must be one of {', '.join(get_args(Decay))}")
        if warmup < 0 or (decay != "constant" and total <= warmup):
            raise ValueError(f"warmup is {warmup} and total {total}; need 0 <= warmup < total")
        if not 0 <= final <= 1:
            raise ValueError(f"final is {final}; it is a part of the base rate, from 0 to 1")
        self.decay, self.warmup, self.total, self.final = decay, warmup, total, float(final)
        super().__init__(optimizer)

    def factor(self, steps: int) -> float:
        """Return the part of the base rate that the update after `steps` updates has."""
        if steps < self.warmup:
            return (steps + 1) / self.warmup
        if self.decay == "constant":
            return 1.0
        gone = min(1.0, (steps - self.warmup) / (self.total - self.warmup))
        left = 1.0 - gone if self.decay == "linear" else half_wave(gone)
        return self.final + (1.0 - self.final) * left

    def get_lr(self) -> list[float | Tensor]:
        """Return the rate of each parameter group for the next update."""
        return [base * self.factor(self.last_epoch) for base in self.base_lrs]

    def state_dict(self) -> dict[str, Any]:
        """Return options and position, nothing that depends on torch's version."""
        return self._options() | {"step": self.last_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from `state_dict()`; the rates themselves are part of the optimizer's state.

        Raises ValueError where it belongs to another schedule.
        """
        step = state_dict.get("step")
        if self._options() | {"step": step} != state_dict or type(step) is not int or step < 0:
            raise ValueError("this is the state of another schedule")
        self.last_epoch = step
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]

    def _options(self) -> dict[str, Any]:
        options = {"decay": self.decay, "warmup": self.warmup, "total": self.total, "final": self.final}
        return options | {"base_lrs": list(self.base_lrs)}
