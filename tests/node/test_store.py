"""Vectors by content address."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from btard.hashing import object_digest
from btard.node.store import ObjectStore

floats = st.lists(st.integers(0, 2**32 - 1), max_size=20)  # every bit pattern, NaNs and -0.0 included


def vector(bits: list[int]) -> torch.Tensor:
    return torch.from_numpy(np.array(bits, dtype="<u4").view("<f4"))


@pytest.mark.shows("CNS-2", "NET-4")
@given(floats)
def test_an_object_is_named_by_its_bytes(bits: list[int]) -> None:
    store, data = ObjectStore(), np.array(bits, dtype="<u4").tobytes()
    name = store.add(vector(bits), 1)
    assert name == object_digest(data)
    assert bytes(store.data(name) or b"") == data
    assert store.vector(name).numpy().tobytes() == data


@pytest.mark.shows("CNS-2")
def test_any_vector_becomes_contiguous_float32() -> None:
    store = ObjectStore()
    numbers = torch.arange(6, dtype=torch.float64, requires_grad=True)
    name = store.add(numbers[::2], 1)
    assert name == store.add(torch.tensor([0.0, 2.0, 4.0]), 1)
    assert store.vector(name).dtype == torch.float32
    assert not store.vector(name).requires_grad


def test_what_is_fetched_and_what_is_served_is_not_copied() -> None:
    store = ObjectStore()
    memory = bytearray(np.array([1.0, 2.0], dtype="<f4").tobytes())
    name = object_digest(memory)
    store.add_fetched(name, memory, 1)
    assert store.vector(name).tolist() == [1.0, 2.0]
    served = store.data(name)
    memory[:4] = np.array([7.0], dtype="<f4").tobytes()
    assert served is not None
    assert bytes(served) == bytes(memory)
    assert store.vector(name).tolist() == [7.0, 2.0]


def test_what_is_not_here_is_said_to_be_missing() -> None:
    store = ObjectStore()
    assert store.data(bytes(32)) is None
    assert not store.keep(bytes(32), 5)
    assert store.data(bytes(32)) is None
    with pytest.raises(KeyError):
        store.vector(bytes(32))


actions = st.tuples(
    st.sampled_from(["add", "fetched", "keep", "discard"]), st.integers(0, 3), st.integers(0, 6)
)


@given(st.lists(actions, max_size=40))
def test_an_object_lives_until_its_last_step_is_over(history: list[tuple[str, int, int]]) -> None:
    store, needed = ObjectStore(), dict[bytes, int]()
    for action, content, step in history:
        piece = torch.full((4,), float(content))
        name = object_digest(piece.numpy().tobytes())
        if action == "discard":
            old = {n for n, last in needed.items() if last < step}
            assert set(store.discard(step)) == old
            needed = {n: last for n, last in needed.items() if n not in old}
            continue
        if action == "keep":
            assert store.keep(name, step) == (name in needed)
        elif action == "fetched":
            store.add_fetched(name, bytearray(piece.numpy().tobytes()), step)
        else:
            assert store.add(piece, step) == name
        if action != "keep" or name in needed:
            needed[name] = max(step, needed.get(name, step))
        for content in range(4):
            piece = torch.full((4,), float(content))
            name = object_digest(piece.numpy().tobytes())
            assert (store.data(name) is not None) == (name in needed)
