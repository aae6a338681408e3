"""Bulk objects of a peer: float32 vectors by content address (spec NET-4)."""

from __future__ import annotations

from typing import Any

import torch

from btard.hashing import object_digest


class ObjectStore:
    """Vectors that are needed in some step; those of past steps are dropped.

    One thread may add while another reads: every operation is a single one on a dict.
    """

    def __init__(self) -> None:
        self._vectors: dict[bytes, torch.Tensor] = {}
        self._steps: dict[bytes, int] = {}

    def add(self, vector: torch.Tensor, step: int) -> bytes:
        """Keep a vector of any device for ``step``; return its digest."""
        kept = vector.detach().to(device="cpu", dtype=torch.float32).contiguous()
        name = object_digest(_bytes(kept))
        self._vectors[name] = kept
        self._steps[name] = max(step, self._steps.get(name, step))
        return name

    def add_fetched(self, name: bytes, data: bytearray | memoryview, step: int) -> None:
        """Keep an object whose digest and size were checked."""
        self._vectors[name] = torch.frombuffer(data, dtype=torch.float32)
        self._steps[name] = max(step, self._steps.get(name, step))

    def keep(self, name: bytes, step: int) -> bool:
        """Keep an object for ``step`` as well, if it is here; say whether it is."""
        here = name in self._vectors
        if here:
            self._steps[name] = max(step, self._steps[name])
        return here

    def vector(self, name: bytes) -> torch.Tensor:
        """Return a vector, shape (length,), float32, on the CPU. Raises KeyError where it is not here."""
        return self._vectors[name]

    def data(self, name: bytes) -> memoryview | None:
        """Return an object's bytes without a copy, None where it is not here."""
        vector = self._vectors.get(name)
        return None if vector is None else _bytes(vector)

    def discard(self, before: int) -> list[bytes]:
        """Drop what no step from ``before`` on needs; return the digests dropped."""
        old = [name for name, step in list(self._steps.items()) if step < before]
        for name in old:
            del self._vectors[name], self._steps[name]
        return old


def _bytes(vector: torch.Tensor) -> memoryview:
    # numpy arrays are buffers; its stubs do not say so on every Python.
    array: Any = vector.numpy()
    return memoryview(array).cast("B") if vector.numel() else memoryview(b"")
