"""Some steps of each consensus optimizer and what they come to; run as a script, with one and two threads."""

import json

import numpy as np
import torch

from btard.training.optimizers import LAMB, SGD, AdamW
from btard.training.state import State

MAKERS = {
    "sgd": lambda p: SGD(p, 0.1),
    "nesterov": lambda p: SGD(p, 0.1, momentum=0.9, nesterov=True, weight_decay=5e-4, max_gradient_norm=0.5),
    "adamw": lambda p: AdamW(p, 0.01),
    "lamb": lambda p: LAMB(p, 0.02),
}
_LARGE = 3 * 2**17


def digests(device: str) -> dict[str, str]:
    """Return for each optimizer the digest of a large and a small parameter and its state after three steps."""
    found = {}
    for name, make in MAKERS.items():
        integers = np.random.default_rng(3).integers(-(2**20), 2**20, (4, _LARGE + 5))
        first, *gradients = (torch.tensor(row, dtype=torch.float32, device=device) / 2**18 for row in integers)
        trained = [torch.nn.Parameter(t) for t in _cut(first)]
        optimizer = make(trained)
        for gradient in gradients:
            for p, piece in zip(trained, _cut(gradient), strict=True):
                p.grad = piece
            optimizer.step()
        named = {str(i): p for i, p in enumerate(trained)}
        found[name] = State.of(named, {"optimizer": optimizer.state_dict()}).digest().hex()[:32]
    return found


def _cut(t: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return t[:_LARGE].reshape(-1, 3), t[_LARGE:]


if __name__ == "__main__":
    found = {}
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found[threads] = digests("cpu")
    print(json.dumps([torch.backends.cpu.get_cpu_capability(), found]))
