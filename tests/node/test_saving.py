"""What a peer leaves of its model when it has finished, and when it stopped for good."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from btard.errors import BtardError
from btard.node.model_files import ModelFiles
from btard.node.saving import save_last, save_trained
from btard.training.backend import Backend
from btard.training.checkpoint import load_model
from fuzz.world import parameters
from tests.training.toy_task import Toy, train

RUN = bytes(range(32))
STEPS = 5


class Worker:
    """A host that computes at once."""

    def submit(self, _: object, function: Callable[[], object]) -> None:
        function()


def stopped(folder: Path, task: Toy, after: int) -> Any:
    """A peer that stopped when its model was that after so many steps: it lies beside the journal."""
    models = ModelFiles(folder, RUN)
    models.write(after + 1, task.state().pieces())
    models.wait()
    return SimpleNamespace(
        config=SimpleNamespace(parameters=parameters(4, STEPS), run=RUN),
        state=SimpleNamespace(model_step=after + 1, model_digest=task.model_digest()),
        host=Worker(),
        models=models,
        backend=Backend(task, parameters(4, STEPS), 1),
    )


@pytest.mark.shows("TRN-12")
@pytest.mark.parametrize("further", [0, 1])
def test_a_peer_that_stops_leaves_its_last_model(tmp_path: Path, further: int) -> None:
    """Also where the next step's update was under way, or done, when it stopped."""
    task, fresh, expected = Toy(), Toy(number=1), Toy()
    train(task, 3)
    train(expected, 3)
    peer = stopped(tmp_path, task, 3)
    train(task, further, first=3)
    path = tmp_path / "model-step-3.safetensors"
    assert save_last(peer, task, tmp_path) == f"; its model after step 3 is in {path}"
    assert load_model(fresh, path) == (RUN, 3)
    assert fresh.parameters_vector().equal(expected.parameters_vector())


@pytest.mark.shows("TRN-12")
def test_closing_steps_change_no_model(tmp_path: Path) -> None:
    task = Toy()
    train(task, STEPS)
    peer = stopped(tmp_path, task, STEPS + 2)
    assert save_last(peer, task, tmp_path).startswith(f"; its model after step {STEPS} is in ")


def test_without_a_model_nothing_is_said(tmp_path: Path) -> None:
    task = Toy()
    assert save_last(stopped(tmp_path, task, 0), task, tmp_path) == ""
    train(task, 3)
    peer = stopped(tmp_path, task, 3)
    peer.models.remove()
    train(task, 1)
    assert save_last(peer, task, tmp_path) == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.refuses("GEN-8")
def test_a_disk_that_refuses_a_model_is_told_in_a_line(tmp_path: Path) -> None:
    task = Toy()
    train(task, 3)
    peer, gone = stopped(tmp_path, task, 3), tmp_path / "gone"
    said = save_last(peer, task, gone)
    assert said.startswith(f"; its last model is not saved (cannot write {gone / 'model-step-3.safetensors'}: ")
    assert "\n" not in said
    with pytest.raises(BtardError, match=r"all steps are done, but cannot write .*make room on the disk"):
        save_trained(task, gone, RUN, STEPS)
