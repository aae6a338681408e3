"""What a seed decides: the batch of a gradient, and every random number drawn while it is computed."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from btard.consensus import Draws
from btard.hashing import HASH_SIZE, digest


def check_seed(seed: bytes) -> None:
    """Raise ValueError unless `seed` has 32 bytes."""
    if len(seed) != HASH_SIZE:
        raise ValueError(f"a seed has {HASH_SIZE} bytes, this one has {len(seed)}")


def batch_indices(seed: bytes, examples: int, batch_size: int) -> torch.Tensor:
    """Return the batch that a seed selects: distinct indices in [0, examples) (TRN-2, BTARD paper).

    Int64, shape (batch_size,), on the CPU, the same on every platform; all such batches are equally likely.

    Raises ValueError where the batch is larger than the data, or the seed has not 32 bytes.
    """
    check_seed(seed)
    if not 1 <= batch_size <= examples:
        raise ValueError(f"batch_size is {batch_size}; it must be from 1 to the number of examples, {examples}")
    return torch.tensor(Draws("batch", seed).sample(batch_size, examples), dtype=torch.int64)


@contextmanager
def seeded_generators(seed: bytes, device: torch.device) -> Iterator[None]:
    """Run the body with all global random generators set from `seed`, and put them back after it (TRN-3).

    Those of torch (CPU, and the device if it is a CUDA one), `random` and `numpy.random`: dropout and
    augmentation of any make can be computed again by whoever knows the seed. Not for use in two threads at
    once, since the generators belong to the process.
    """
    check_seed(seed)
    key = digest("generators", seed)
    number = int.from_bytes(key[:8], "little")
    python_state, numpy_state = random.getstate(), np.random.get_state()
    cuda = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        try:
            torch.default_generator.manual_seed(number)
            if cuda:
                with torch.cuda.device(device):
                    torch.cuda.manual_seed(number)
            random.seed(key)
            np.random.seed(np.frombuffer(key, dtype="<u4"))
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)
