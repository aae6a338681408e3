"""Bulk objects of a peer by content address: float32 vectors, and models (spec NET-4)."""

from __future__ import annotations

from typing import Any

import torch

from btard.hashing import object_digest


class MissingObjectError(KeyError):
    """An object that is needed is not here: after a return it may still be on its way."""


class ObjectStore:
    """Objects that are needed in some step; those of past steps are dropped.

    One thread may add while another reads: every operation is a single one on a dict.
    """

    def __init__(self) -> None:
        self._objects: dict[bytes, memoryview | bytearray] = {}
        self._steps: dict[bytes, int] = {}

    def add(self, vector: torch.Tensor, step: int) -> bytes:
        """Keep a vector of any device for ``step``; return its digest."""
        kept = vector.detach().to(device="cpu", dtype=torch.float32).contiguous()
        return self.add_bytes(_bytes(kept), step)

    def add_bytes(self, data: bytes | memoryview, step: int) -> bytes:
        """Keep any object for ``step``; return its digest."""
        name = object_digest(data)
        self.add_fetched(name, memoryview(data), step)
        return name

    def add_fetched(self, name: bytes, data: bytearray | memoryview, step: int) -> None:
        """Keep an object whose digest and size were checked."""
        self._objects[name] = data
        self._steps[name] = max(step, self._steps.get(name, step))

    def keep(self, name: bytes, step: int) -> bool:
        """Keep an object for ``step`` as well, if it is here; say whether it is."""
        here = name in self._objects
        if here:
            self._steps[name] = max(step, self._steps[name])
        return here

    def vector(self, name: bytes) -> torch.Tensor:
        """Return a vector, shape (length,), float32, on the CPU. Raises MissingObjectError."""
        data = self._objects.get(name)
        if data is None:
            raise MissingObjectError(name.hex())
        return torch.frombuffer(data, dtype=torch.float32) if len(data) else torch.empty(0)

    def data(self, name: bytes) -> memoryview | None:
        """Return an object's bytes without a copy, None where it is not here."""
        data = self._objects.get(name)
        return None if data is None else memoryview(data)

    def discard(self, before: int) -> list[bytes]:
        """Drop what no step from ``before`` on needs; return the digests dropped."""
        old = [name for name, step in list(self._steps.items()) if step < before]
        for name in old:
            del self._objects[name], self._steps[name]
        return old


def _bytes(vector: torch.Tensor) -> memoryview:
    # numpy arrays are buffers; its stubs do not say so on every Python.
    array: Any = vector.numpy()
    return memoryview(array).cast("B") if vector.numel() else memoryview(b"")
