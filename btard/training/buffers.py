"""A model's buffers: what layers note while they run, none of which follows from aggregated gradients."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase


@contextmanager
def kept_buffers(model: nn.Module) -> Iterator[None]:
    """Put all buffers back after the body, be they written to or replaced there."""
    kept = [
        (module, dict(module._buffers), [(b, b.clone()) for b in module._buffers.values() if b is not None])
        for module in model.modules()
        if module._buffers
    ]
    try:
        yield
    finally:
        with torch.no_grad():
            for module, buffers, values in kept:
                for buffer, value in values:
                    buffer.copy_(value)
                module._buffers.clear()
                module._buffers.update(buffers)


def compute_statistics(model: nn.Module, run: Callable[[], None]) -> None:
    """Set running statistics of normalisation layers to plain averages over the batches of `run` (TRN-9).

    `run` calls the model in training mode. Other buffers are as before afterwards. Where there are no such
    layers, nothing is run.
    """
    layers = [m for m in model.modules() if isinstance(m, _NormBase) and m.running_mean is not None]
    if not layers:
        return
    with kept_buffers(model), _averaging(layers):
        run()
        found = [[buffer.clone() for buffer in layer.buffers(recurse=False)] for layer in layers]
    for layer, values in zip(layers, found, strict=True):
        for buffer, value in zip(layer.buffers(recurse=False), values, strict=True):
            buffer.copy_(value)


@contextmanager
def _averaging(layers: list[_NormBase]) -> Iterator[None]:
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # torch's way to ask for a plain average
    try:
        yield
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
