"""A small task with whatever the tests want in it."""

from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer

from btard.hashing import digest
from btard.training.initial import initialise_
from btard.training.task import Task

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
MakeOptimizer = Callable[[Iterable[nn.Parameter]], Optimizer]


def seed(number: int) -> bytes:
    return digest("test seed", number.to_bytes(8, "little"))


def momentum(parameters: Iterable[nn.Parameter]) -> Optimizer:
    return torch.optim.SGD(parameters, lr=0.1, momentum=0.9, nesterov=True)


class NoiseBuffer(nn.Module):
    """Counts its calls in a buffer that its output depends on, and replaces another buffer."""

    calls: torch.Tensor
    last: torch.Tensor | None

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("last", None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        self.last = x.detach().mean()
        return x * self.calls


class Toy(Task):
    """A classifier of points; with `stateful`, one with batch normalisation, dropout and odd buffers."""

    def __init__(
        self,
        optimizer: MakeOptimizer = momentum,
        *,
        number: int = 0,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        stateful: bool = False,
        batch_size: int = 8,
    ) -> None:
        points = np.random.default_rng(7).integers(-8, 8, (64, 6))
        self.x = torch.tensor(points / 8, dtype=dtype, device=device)
        self.y = torch.tensor((points[:, 0] > points[:, 1]).astype(np.int64), device=device)
        self.data = (self.x, self.y)
        self.examples, self.batch_size = 64, batch_size
        middle = [nn.BatchNorm1d(5), nn.Dropout(0.3), NoiseBuffer()] if stateful else [nn.Tanh()]
        self.model = nn.Sequential(nn.Linear(6, 5), *middle, nn.Linear(5, 2, bias=False)).to(dtype)
        initialise_(self.model, seed(number))
        self.model.to(device)
        self.optimizer = optimizer(self.model.parameters())

    def loss(self, indices: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(self.model(self.x[indices]), self.y[indices])

    def evaluate(self) -> dict[str, float]:
        right = self.model(self.x).argmax(1) == self.y
        return {"accuracy": right.float().mean().item()}


def train(task: Task, steps: int, first: int = 0) -> None:
    for step in range(first, first + steps):
        task.update(task.gradient(seed(step)))


def same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.cpu().numpy().tobytes() == b.cpu().numpy().tobytes()
