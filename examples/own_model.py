"""Your own model, loss, optimizer and data. In the run file: task = "examples/own_model.py:Wine"."""

import torch
from sklearn.datasets import load_wine

from btard.training.initial import initialise_
from btard.training.optimizers import AdamW
from btard.training.task import Task


class Wine(Task):
    """A small network that tells three cultivars of wine by 13 chemical measurements, trained with AdamW."""

    def __init__(self, seed: bytes, device: str = "cpu", *, hidden: int = 32, batch_size: int = 16) -> None:
        values, cultivars = load_wine(return_X_y=True)
        low, high = values.min(0), values.max(0)  # no sums: these have the same bits on every machine
        x = torch.tensor(2 * (values - low) / (high - low) - 1, dtype=torch.float32, device=device)
        y = torch.tensor(cultivars, device=device)
        test = torch.arange(len(y)) % 4 == 0
        self.x, self.y, self.x_test, self.y_test = self.data = (x[~test], y[~test], x[test], y[test])
        self.examples, self.batch_size = len(self.y), batch_size
        self.model = torch.nn.Sequential(
            torch.nn.Linear(13, hidden), torch.nn.ReLU(), torch.nn.Dropout(0.1), torch.nn.Linear(hidden, 3)
        ).to(device)
        initialise_(self.model, seed)
        self.optimizer = AdamW(self.model.parameters(), lr=0.01)

    def loss(self, indices: torch.Tensor) -> torch.Tensor:
        """Return the mean loss on these training examples."""
        return torch.nn.functional.cross_entropy(self.model(self.x[indices]), self.y[indices])

    def evaluate(self) -> dict[str, float]:
        """Return what is worth watching, on data that is not trained on."""
        return {"accuracy": (self.model(self.x_test).argmax(1) == self.y_test).float().mean().item()}
