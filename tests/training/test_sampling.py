"""Batches and random generators that follow from a seed."""

import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from toy_task import DEVICES, seed

from btard.training.sampling import batch_indices, seeded_generators

seeds = st.binary(min_size=32, max_size=32)


@pytest.mark.shows("TRN-2")
@given(seeds, st.integers(1, 300), st.data())
def test_a_batch_has_distinct_indices_of_examples(key, examples, data):
    size = data.draw(st.integers(1, examples))
    batch = batch_indices(key, examples, size)
    assert (batch.dtype, batch.shape) == (torch.int64, (size,))
    assert len(set(batch.tolist())) == size
    assert 0 <= batch.min() <= batch.max() < examples
    assert torch.equal(batch, batch_indices(key, examples, size))


@pytest.mark.shows("TRN-2")
def test_every_example_is_drawn_equally_often():
    rounds, examples, size = 3000, 20, 5
    counts = np.zeros(examples)
    for number in range(rounds):
        counts[batch_indices(seed(number), examples, size).numpy()] += 1
    expected = rounds * size / examples
    # Chi-square with 19 degrees of freedom, less a quarter because a batch has no repeats: 43.8 is p = 0.001.
    assert ((counts - expected) ** 2 / expected).sum() < 43.8


@pytest.mark.shows("TRN-2")
def test_the_batch_of_a_known_seed_is_the_same_on_every_platform():
    assert batch_indices(bytes(32), 1437, 8).tolist() == [637, 1084, 854, 499, 97, 1106, 1017, 478]


@pytest.mark.refuses("TRN-2")
@pytest.mark.parametrize(("examples", "size"), [(5, 6), (5, 0), (0, 0), (5, -1)])
def test_a_batch_that_the_data_cannot_fill_is_refused(examples, size):
    with pytest.raises(ValueError, match="batch_size"):
        batch_indices(bytes(32), examples, size)


def draw(device: str) -> tuple[object, ...]:
    on_device = torch.rand(3, device=device).tolist()
    return torch.rand(3).tolist(), on_device, random.random(), np.random.random(3).tolist()


@pytest.mark.shows("TRN-3")
@pytest.mark.parametrize("device", DEVICES)
def test_all_generators_follow_from_the_seed_and_are_put_back(device):
    where = torch.device(device)
    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)
    undisturbed = draw(device)
    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)
    with seeded_generators(seed(1), where):
        first = draw(device)
    assert draw(device) == undisturbed
    with seeded_generators(seed(1), where):
        assert draw(device) == first
    with seeded_generators(seed(2), where):
        other = draw(device)
    assert all(a != b for a, b in zip(first, other, strict=True))


@pytest.mark.shows("TRN-3")
def test_generators_are_put_back_after_an_error():
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tobytes()

    def fail() -> None:
        with seeded_generators(seed(1), torch.device("cpu")):
            draw("cpu")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (random.getstate(), np.random.get_state()[1].tobytes()) == before[1:]


@pytest.mark.refuses("TRN-3")
@given(st.binary(max_size=64).filter(lambda key: len(key) != 32))
def test_a_seed_of_another_length_is_refused(key):
    with pytest.raises(ValueError, match="32 bytes"), seeded_generators(key, torch.device("cpu")):
        pass
    with pytest.raises(ValueError, match="32 bytes"):
        batch_indices(key, 8, 2)
