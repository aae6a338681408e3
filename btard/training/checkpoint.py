"""A trained model as a safetensors file that any program can read."""

import os
from pathlib import Path

import safetensors
import safetensors.torch

from btard.training.task import Task

_FORMAT = "btard model 1"


class CheckpointError(ValueError):
    """A file that holds no model, or not a model of this task."""


def save_model(task: Task, path: Path, run_id: bytes, step: int) -> None:
    """Write parameters and buffers under their `state_dict` names, with run id and step as metadata (TRN-12).

    Running statistics are those of `Task.for_inference`. The file appears whole or not at all. It holds no
    optimizer state: `Task.state` is for going on, this is for using the model. Raises OSError where the disk
    refuses.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    metadata = {"format": _FORMAT, "run": run_id.hex(), "step": str(step)}
    try:
        with task.for_inference():
            safetensors.torch.save_model(task.model, str(partial), metadata)
        os.replace(partial, path)
    except safetensors.SafetensorError as error:  # it wraps the disk's errors, and those alone when it writes
        raise OSError(str(error)) from error
    finally:
        partial.unlink(missing_ok=True)


def load_model(task: Task, path: Path) -> tuple[bytes, int]:
    """Set parameters and buffers of the task's model from a file of `save_model`; return run id and step.

    Raises CheckpointError where the file cannot be read or holds another model.
    """
    try:
        with safetensors.safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            shapes = {name: list(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        if metadata.get("format") != _FORMAT:
            raise CheckpointError(f"{path} is no model that btard saved")
        run_id, step = bytes.fromhex(metadata["run"]), int(metadata["step"])
        mine = {name: list(tensor.shape) for name, tensor in task.model.state_dict().items()}
        if any(mine.get(name) != shape for name, shape in shapes.items()):
            raise CheckpointError(f"{path} holds another model than this task's")
        safetensors.torch.load_model(task.model, path, device=str(task.device))
    except CheckpointError:
        raise
    except (OSError, KeyError, ValueError, RuntimeError, safetensors.SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{path} cannot be loaded as a model: {reason}") from error
    return run_id, step
