"""Trained models as files."""

import pytest
import safetensors.torch
import torch
from torch import nn
from toy_task import Toy, seed, train

from btard.training.checkpoint import CheckpointError, load_model, save_model

RUN = bytes(range(32))


@pytest.mark.shows("TRN-12")
def test_a_model_comes_back_with_its_statistics_run_and_step(tmp_path):
    task, fresh = Toy(stateful=True), Toy(stateful=True, number=1)
    train(task, 3)
    before = task.model_digest()
    save_model(task, tmp_path / "model.safetensors", RUN, 42)
    assert task.model_digest() == before
    assert load_model(fresh, tmp_path / "model.safetensors") == (RUN, 42)
    assert torch.equal(fresh.parameters_vector(), task.parameters_vector())
    with task.for_inference():
        expected = task.model(task.x)
    fresh.model.eval()
    assert torch.equal(fresh.model(task.x), expected)
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


@pytest.mark.shows("TRN-12")
def test_any_program_can_read_the_file(tmp_path):
    task = Toy()
    save_model(task, tmp_path / "model", RUN, 0)
    tensors = safetensors.torch.load_file(tmp_path / "model")
    assert {name: t.shape for name, t in tensors.items()} == {
        n: t.shape for n, t in task.model.state_dict().items()
    }


@pytest.mark.shows("TRN-12")
def test_tied_weights_are_saved_once(tmp_path):
    class Tied(Toy):
        def __init__(self, number: int = 0) -> None:
            super().__init__(number=number)
            self.model = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 2))
            self.model[1].weight = self.model[0].weight
            self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)

    task, fresh = Tied(), Tied(1)
    train(task, 1)
    save_model(task, tmp_path / "model", RUN, 1)
    load_model(fresh, tmp_path / "model")
    assert torch.equal(task.parameters_vector(), fresh.parameters_vector())
    assert torch.equal(task.gradient(seed(0)), fresh.gradient(seed(0)))


@pytest.mark.refuses("TRN-12")
def test_files_that_hold_no_model_of_this_task_are_refused(tmp_path):
    path = tmp_path / "model"
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        load_model(Toy(), path)
    path.write_bytes(b"nonsense")
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        load_model(Toy(), path)
    safetensors.torch.save_file({"0.weight": torch.zeros(5, 6)}, path)
    with pytest.raises(CheckpointError, match="is no model that btard saved"):
        load_model(Toy(), path)
    save_model(Toy(stateful=True), path, RUN, 1)
    with pytest.raises(CheckpointError, match="holds another model"):
        load_model(Toy(), path)
    larger = Toy()
    larger.model.register_parameter("more", nn.Parameter(torch.zeros(1)))
    save_model(Toy(), path, RUN, 1)
    with pytest.raises(CheckpointError, match=r"cannot be loaded as a model: .*more"):
        load_model(larger, path)


@pytest.mark.refuses("TRN-12")
def test_a_file_that_cannot_be_written_leaves_nothing_behind(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "occupied").touch()
    with pytest.raises(OSError):
        save_model(Toy(), tmp_path / "model", RUN, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    with pytest.raises(OSError, match="No such file"):
        save_model(Toy(), tmp_path / "none" / "model", RUN, 1)
