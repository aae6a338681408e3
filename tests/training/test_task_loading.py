"""From the name in a run file to a task, and what is said where that fails."""

import subprocess
import sys

import pytest
import torch
from toy_task import seed

from btard.training.digits import DigitsTask
from btard.training.loading import TaskError, make_task

FILE = """
import torch
from dataclasses import dataclass
from neighbour import SIZE
from btard.training.task import Task

@dataclass
class Options:
    size: int = SIZE

class Line(Task):
    def __init__(self, seed, device, slope=1.0, fail=False):
        if fail:
            raise RuntimeError("first line\\nsecond line")
        self.slope = slope
        x = torch.arange(Options().size, dtype=torch.float32, device=device)
        self.data, self.examples, self.batch_size = (x,), len(x), 2
        self.model = torch.nn.Linear(1, 1).to(device)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)

    def loss(self, indices):
        x = self.data[0][indices].unsqueeze(1)
        return (self.model(x) - self.slope * x).square().mean()

    def evaluate(self):
        return {"loss": 0.0}

class Unfinished(Task):
    def __init__(self, seed, device):
        pass

class Empty(Line):
    def __init__(self, seed, device):
        pass

class Unrelated:
    pass

number = 3
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "modules", {**sys.modules})
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "task.py").write_text(FILE)
    (tmp_path / "own" / "neighbour.py").write_text("SIZE = 8\n")
    (tmp_path / "broken.py").write_text("import torch\nthis is no python\n")
    (tmp_path / "needy.py").write_text("import a_package_that_nobody_has\n")
    return tmp_path


def test_digits_are_built_in_and_take_options():
    task = make_task("digits", {"batch_size": 5, "learning_rate": 0.5}, seed(0), "cpu")
    assert isinstance(task, DigitsTask)
    assert task.batch_size == 5
    assert task.optimizer.param_groups[0]["lr"] == 0.5


def test_a_users_class_is_made_with_its_options_and_its_files_neighbours(folder):
    task = make_task("own/task.py:Line", {"slope": 2.5}, seed(0), "cpu", folder)
    assert task.slope == 2.5
    assert task.gradient(seed(0)).shape == (2,)
    absolute = make_task(f"{folder}/own/task.py:Line", {}, seed(0), "cpu")
    assert absolute.data_digest() == task.data_digest()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("numbers", {}, "task is 'numbers'; it must be digits or path/to/file.py:ClassName"),
        ("own/task.py", {}, "it must be digits or path/to/file.py:ClassName"),
        ("own/task:Line", {}, "it must be digits or path/to/file.py:ClassName"),
        ("own/task.py:", {}, "it must be digits or path/to/file.py:ClassName"),
        ("own/tusk.py:Line", {}, "there is no task file .*/own/tusk.py"),
        ("own.py:Line", {}, "there is no task file"),
        ("own/task.py:Lime", {}, "there is no Lime in .*/own/task.py"),
        ("own/task.py:Unrelated", {}, "Unrelated must be a subclass of btard.training.task.Task"),
        ("own/task.py:number", {}, "number must be a subclass of btard.training.task.Task"),
        ("own/task.py:Unfinished", {}, "Unfinished must define evaluate and loss"),
        ("own/task.py:Empty", {}, r"Empty.__init__ must set self.model \(type Module\)"),
        (
            "own/task.py:Line",
            {"slop": 1},
            "unexpected keyword argument 'slop'.* takes the options slope, fail",
        ),
        ("own/task.py:Line", {"fail": True}, "cannot be made: RuntimeError: first line second line"),
        ("digits", {"batch_size": 5000}, "batch_size is 5000; there are 1437 examples"),
        ("digits", {"learning_rate": -1.0}, "cannot be made: ValueError: SGD: lr is -1.0"),
        ("digits", {"device": "cuda"}, "multiple values for keyword argument 'device'"),
        ("broken.py:Line", {}, "broken.py cannot be loaded: SyntaxError"),
        ("needy.py:Line", {}, "ModuleNotFoundError: No module named 'a_package_that_nobody_has'"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(folder, name, options, message):
    with pytest.raises(TaskError, match=message) as caught:
        make_task(name, options, seed(0), "cpu", folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "cpu:1", "cuda:-1", "", "cuda:²"])
def test_a_device_that_makes_no_sense_is_refused(device):
    with pytest.raises(TaskError, match="it must be cpu, cuda or cuda:NUMBER"):
        make_task("digits", {}, seed(0), device)


def test_a_gpu_that_is_not_there_is_refused():
    with pytest.raises(TaskError, match=r"device is cuda:99, but torch .* finds \d+ GPUs"):
        make_task("digits", {}, seed(0), "cuda:99")
    if not torch.cuda.is_available():
        with pytest.raises(TaskError, match="finds 0 GPUs"):
            make_task("digits", {}, seed(0), "cuda")


def test_a_torch_that_cannot_be_imported_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(TaskError, match=r"torch cannot be imported .*; install torch 2\.6 or newer"):
        make_task("digits", {}, seed(0), "cpu")


def test_torch_is_imported_only_when_it_is_needed():
    program = (
        "import sys, btard, btard.training.loading; assert 'torch' not in sys.modules;"
        "from btard import Task; assert 'torch' in sys.modules; assert Task.__name__ == 'Task'"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_btard_has_nothing_else():
    import btard

    with pytest.raises(AttributeError, match="no attribute 'Tusk'"):
        _ = btard.Tusk
