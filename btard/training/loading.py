"""From the name of a task in a run file to the task itself."""

import importlib.util
import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from btard.errors import BtardError
from btard.hashing import digest

if TYPE_CHECKING:
    from btard.training.task import Task

Option = int | float | str | bool


class TaskError(BtardError):
    """A task that cannot be made; the message says why in one line."""


def make_task(
    name: str, options: Mapping[str, Option], seed: bytes, device: str, base_dir: Path = Path()
) -> "Task":
    """Return the task `name`: `digits`, or `path/to/file.py:ClassName` for a class in a user's own file.

    The class is called as `ClassName(seed=seed, device=device, **options)`. A relative path starts at
    `base_dir`. The file is run, so it has to be one that the operator trusts; what peers compare is not the
    file but the digests of data and first parameters. Its folder is added to the end of `sys.path`, so that
    it can import its neighbours. Loading costs the import of torch.

    Raises TaskError for everything that can be wrong with name, file, class, options, device or torch.
    """
    _check_device(device)
    task_class = _task_class(name, base_dir)
    _check_options(name, task_class, options)
    arguments: dict[str, object] = {"seed": seed, "device": device, **options}
    try:
        task = task_class(**arguments)
        task.check()
    except Exception as error:  # a user's class may raise anything
        raise TaskError(f"task {name} cannot be made: {_in_one_line(error)}") from error
    return task


def _check_device(device: str) -> None:
    try:
        import torch
    except (ImportError, OSError) as error:
        raise TaskError(
            f"torch cannot be imported ({_in_one_line(error)}); install torch 2.6 or newer"
        ) from error
    kind, _, index = device.partition(":")
    if kind not in ("cpu", "cuda") or (index and not (kind == "cuda" and index.isdecimal())):
        raise TaskError(f"device is {device!r}; it must be cpu, cuda or cuda:NUMBER")
    if kind == "cuda" and int(index or 0) >= (count := torch.cuda.device_count()):
        raise TaskError(f"device is {device}, but torch {torch.__version__} finds {count} GPUs on this machine")


def _task_class(name: str, base_dir: Path) -> "type[Task]":
    from btard.training.task import Task

    if name == "digits":
        from btard.training.digits import DigitsTask

        return DigitsTask
    path, colon, class_name = name.rpartition(":")
    if not colon or not path.endswith(".py") or not class_name.isidentifier():
        raise TaskError(f"task is {name!r}; it must be digits or path/to/file.py:ClassName")
    found = getattr(_run_file(base_dir / path), class_name, None)
    if found is None:
        raise TaskError(f"task {name}: there is no {class_name} in {base_dir / path}")
    if not (isinstance(found, type) and issubclass(found, Task)):
        raise TaskError(f"task {name}: {class_name} must be a subclass of btard.training.task.Task")
    if missing := sorted(found.__abstractmethods__):
        raise TaskError(f"task {name}: {class_name} must define {' and '.join(missing)}")
    return found


def _run_file(path: Path) -> ModuleType:
    path = path.resolve()
    if not path.is_file():
        raise TaskError(f"there is no task file {path}")
    # A name of its own, so that two files called task.py do not meet in sys.modules.
    module_name = f"btard_task_{digest('task file', str(path).encode()).hex()[:16]}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise TaskError(f"{path} cannot be loaded as a Python file")
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses and pickle look it up there
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # a user's file may raise anything
        del sys.modules[module_name]
        raise TaskError(f"task file {path} cannot be loaded: {_in_one_line(error)}") from error
    return module


def _check_options(name: str, task_class: "type[Task]", options: Mapping[str, Option]) -> None:
    signature = inspect.signature(task_class)
    try:
        signature.bind(**dict.fromkeys(("seed", "device")), **options)
    except TypeError as error:
        known = [p for p in signature.parameters if p not in ("seed", "device")]
        takes = f"takes the options {', '.join(known)}" if known else "takes no options"
        raise TaskError(f"task {name}: {error}; beside seed and device it {takes}") from error


def _in_one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
