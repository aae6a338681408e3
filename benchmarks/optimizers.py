"""What equal bits on any hardware cost: a consensus optimizer's step against torch.optim's.

    python -m benchmarks.optimizers

Both take turns in one process with one thread; a line gives the median seconds of each, and their ratio.
"""

import statistics
import time
from collections.abc import Callable

import torch
from torch.optim import Optimizer

from btard.training import optimizers

_ROUNDS = 9
_Make = Callable[[list[torch.nn.Parameter]], Optimizer]

PAIRS: dict[str, tuple[_Make, _Make]] = {
    "SGD, Nesterov": (
        lambda p: optimizers.SGD(p, 0.01, momentum=0.9, nesterov=True, weight_decay=5e-4),
        lambda p: torch.optim.SGD(p, 0.01, momentum=0.9, nesterov=True, weight_decay=5e-4),
    ),
    "AdamW": (optimizers.AdamW, torch.optim.AdamW),
    "LAMB (against AdamW)": (optimizers.LAMB, torch.optim.AdamW),
}


def _optimizer(make: _Make, dimension: int) -> Optimizer:
    numbers = torch.Generator().manual_seed(1)
    layers = [torch.nn.Parameter(torch.randn(dimension // 10, generator=numbers)) for _ in range(10)]
    for layer in layers:
        layer.grad = torch.randn(layer.shape, generator=numbers)
    return make(layers)


def _seconds(optimizer: Optimizer) -> float:
    start = time.perf_counter()
    optimizer.step()
    return time.perf_counter() - start


def main() -> None:
    """Print a line for each optimizer and dimension."""
    torch.set_num_threads(1)
    for dimension in (10**6, 10**7):
        for name, makes in PAIRS.items():
            both = [_optimizer(make, dimension) for make in makes]
            times = [[_seconds(optimizer) for optimizer in both] for _ in range(_ROUNDS)]
            ours, theirs = (statistics.median(column) for column in zip(*times, strict=True))
            print(
                f"d = {dimension:>8}  {name:<21} {ours:.4f} s, torch {theirs:.4f} s, ratio {ours / theirs:.2f}"
            )


if __name__ == "__main__":
    main()
