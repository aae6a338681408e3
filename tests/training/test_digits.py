"""The built-in task, and the example of a user's own."""

from pathlib import Path

import pytest
import torch
from toy_task import DEVICES, seed, train

from btard.training.digits import DigitsTask
from btard.training.loading import make_task

ROOT = Path(__file__).parents[2]


@pytest.mark.shows("TRN-7")
def test_digits_are_the_same_for_everybody():
    first, second = DigitsTask(seed(0)), DigitsTask(seed(1))
    assert first.data_digest() == second.data_digest()
    assert first.data_digest().hex()[:32] == "8c16ed422e956033f8df548f93e238ff"
    assert first.model_digest() != second.model_digest()
    assert first.model_digest() == DigitsTask(seed(0)).model_digest()


def test_digits_are_split_into_training_and_test_images_evenly():
    task = DigitsTask(seed(0))
    assert (task.examples, len(task.test_labels), task.dimension) == (1437, 360, 25866)
    assert task.test_labels.bincount().tolist() == [36] * 10
    assert task.images.min() == -5 / 6
    assert task.images.max() == torch.tensor(11.0) / 6


@pytest.mark.parametrize("device", DEVICES)
def test_digits_are_learnt(device):
    task = DigitsTask(seed(0), device, batch_size=64)
    assert task.scores()["accuracy"] < 0.3
    train(task, 60)
    assert task.scores()["accuracy"] > 0.9


@pytest.mark.parametrize("device", DEVICES)
def test_the_example_of_an_own_model_is_learnt(device):
    task = make_task("examples/own_model.py:Wine", {"hidden": 16}, seed(0), device, ROOT)
    assert task.scores()["accuracy"] < 0.7
    train(task, 80)
    assert task.scores()["accuracy"] > 0.9
    assert task.data_digest().hex()[:32] == "bb8dc4b8ea80eda9d32f2fc7dac313e2"
