"""What consensus optimizers have in common."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import attrs
import torch
from torch import Tensor
from torch.optim import Optimizer

from btard.consensus import row_norm
from btard.robust.arithmetic import consensus_norm

LARGEST = torch.finfo(torch.float32).max
"""torch refuses to multiply by a number that float32 cannot hold."""

_CHUNK = 1 << 15
"""Entries that one sequence of operations works on: they stay in a cache, and torch starts no threads."""


@attrs.frozen
class Option:
    """What values an option may have, and how to say so."""

    fits: Callable[[Any], bool]
    text: str


def finite(low: float, high: float = 1e19) -> Option:
    """Return an option that is a number in [low, high)."""
    return Option(lambda value: _is_number(value) and low <= value < high, f"a number from {low} to {high:g}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


FLAG = Option(lambda value: isinstance(value, bool), "True or False")
LIMIT = Option(
    lambda value: value is None or (_is_number(value) and value > 0), "a positive number, or None for no limit"
)


class ConsensusOptimizer(Optimizer, ABC):
    """An optimizer whose `step` has the same bits on any hardware (TRN-14).

    It uses correctly rounded operations on single numbers in a fixed order: sums, differences and products
    of tensors, each rounded on its own; quotients of tensors only, since a GPU divides by a number by
    multiplying with its inverse; `root` for square roots; Python's floats for everything that depends on
    options and step alone; norms by fixed trees (CNS-7). So nothing here may be fused, and no operation of
    torch with two roundings (`addcmul`, `addcdiv`, `lerp`, `add` with `alpha`) may be used. The sign of a
    NaN is not defined: equal bits end where a training run has diverged to NaN.

    Parameters and gradients are float32 and dense. Each parameter group has options of its own.
    """

    options: ClassVar[Mapping[str, Option]]
    """What a parameter group says beside its parameters."""

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters with its own options.

        Raises ValueError where an option is out of its range, TypeError where a parameter is not float32.
        """
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        for name, option in self.options.items():
            if not option.fits(group[name]):
                raise ValueError(f"{type(self).__name__}: {name} is {group[name]!r}; it must be {option.text}")
        if odd := {str(p.dtype) for p in group["params"] if p.dtype != torch.float32}:
            raise TypeError(f"{type(self).__name__} takes float32 parameters, not {', '.join(sorted(odd))}")

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update all parameters that have a gradient. Raises ValueError where a closure is given."""
        if closure is not None:
            raise ValueError(f"{type(self).__name__} takes no closure: peers exchange gradients, not losses")
        norm = self._gradient_norm()
        for group in self.param_groups:
            limit = group["max_gradient_norm"]
            scale = limit / norm if limit is not None and norm > limit else None
            for parameter in group["params"]:
                if parameter.grad is not None:
                    gradient = parameter.grad if scale is None else parameter.grad * scale
                    self._advance(parameter, gradient, self.state[parameter], group)

    @abstractmethod
    def _advance(self, p: Tensor, g: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        """Update one parameter and its state with a gradient of its shape, which must not be changed."""

    def _gradient_norm(self) -> float:
        """Return the norm over the gradients of all groups (CNS-6 over CNS-7), 0 where no group needs it."""
        if all(group["max_gradient_norm"] is None for group in self.param_groups):
            return 0.0
        parameters = [p for group in self.param_groups for p in group["params"]]
        return row_norm([consensus_norm(p.grad.reshape(-1)) for p in parameters if p.grad is not None])


def kept(state: dict[str, Any], name: str, p: Tensor) -> Tensor:
    """Return the state tensor `name` of a parameter, zeros at first."""
    if name not in state:
        state[name] = torch.zeros_like(p, memory_format=torch.contiguous_format)
    tensor: Tensor = state[name]
    return tensor


def chunks(*tensors: Tensor) -> list[tuple[Tensor, ...]]:
    """Return views of tensors of one shape that cover them, small ones where the memory's order allows it.

    Operations on single numbers give the same bits whichever way tensors are cut.
    """
    if tensors[0].device.type != "cpu" or not all(t.is_contiguous() for t in tensors):
        return [tensors]
    return list(zip(*(torch.split(t.view(-1), _CHUNK) for t in tensors), strict=True))
