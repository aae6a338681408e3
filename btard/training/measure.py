"""Measures on this machine what `btard init` needs: how long things take, and how far gradients are off.

How far gradients of another numerics class are off follows from no formula, and grows while a model is
trained: a converged model's gradients are small differences of large numbers. So a few steps are trained, and
a process of another class computes the same gradients at the same models.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import torch
from safetensors.torch import load_file, save_file

from btard.disk import make_folder
from btard.errors import BtardError
from btard.hashing import digest, object_digest
from btard.measured import CANARIES, Measured
from btard.node.model_files import ModelFiles
from btard.robust.centered_clip import centered_clip
from btard.robust.deviation import deviations
from btard.robust.scalars import plain
from btard.robust.sketch import Sketcher
from btard.training.canary import MAX_PARTS, canary, part_scalars
from btard.training.loading import Option, make_task
from btard.training.numerics import fingerprint, set_deterministic
from btard.training.task import Task
from btard.training.tensor_file import raw_bytes

SEED: Final = digest("measured seed")
QUANTILE: Final = 0.98
"""The deviations above are left out: where a kink of the model decides, a second look does (spec TRN-21)."""

_MODELS: Final = 12
_PER_MODEL: Final = 6  # gradients at each model, whose mean trains it
_UPDATES: Final = 8  # with that mean between two models
_SECONDS: Final = 15.0  # for training, about
_MOST_BYTES: Final = 1 << 28  # of the models in the file that the other process reads
_REPEATS: Final = 5
_SKETCH_VALUE: Final = digest("measured sketch")
_OTHER_CLASS: Final = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"}


def measure(
    name: str, options: Mapping[str, Option], device: str, folder: Path, threads: int, out: Path
) -> Measured:
    """Return what this machine does with a task of that name and these options, found from `folder`.

    `out` is the folder of the run, on whose disk the model will lie. Raises TaskError where the task cannot be
    made or computed, BtardError where the other process fails or the disk refuses.
    """
    set_deterministic(threads)
    task = make_task(name, options, SEED, device, folder)
    canaries = tuple(canary(task, 1, _seed("canary", i)).scalars for i in range(CANARIES))
    model, data, numerics = task.model_digest(), task.data_digest(), fingerprint(task)
    times = measure_times(task, out)
    relative, absolute = _deviations(task, times["gradient_ms"], name, options, folder, threads)
    return Measured(
        task=name,
        model_digest=model,
        data_digest=data,
        torch=numerics.torch,
        device=numerics.device,
        instruction_set=numerics.instruction_set,
        threads=numerics.threads,
        batch_size=numerics.batch_size,
        **times,
        relative=relative,
        absolute=absolute,
        canaries=canaries,
    )


def measure_times(task: Task, out: Path) -> dict[str, float]:
    """Return the longest of several times, in milliseconds, by the names that `Measured` has for them.

    The task's model is updated with a zero gradient, so it is of no further use. It is written to the folder
    `out` as a peer does, and removed. Raises BtardError where the disk refuses.
    """
    vector = task.gradient(SEED)
    size = max(1, len(vector) // MAX_PARTS)
    parts = list(torch.split(vector, size))[: len(vector) // size]
    zero = torch.zeros_like(vector)

    def update() -> None:
        task.update(zero)
        task.model_digest()

    return {
        "gradient_ms": _longest(lambda: task.gradient(SEED)),
        "update_ms": _longest(update),
        "sketch_ms": _longest(lambda: plain(vector, 1.0, Sketcher(os.urandom(32)), 0)),
        "clip_ms": _longest(lambda: centered_clip(parts, 1.0)),
        "hash_ms": _longest(lambda: object_digest(bytes(raw_bytes(vector)))),
        "write_ms": _write_ms(task, out),
    }


def _write_ms(task: Task, out: Path) -> float:
    make_folder(out)
    models = ModelFiles(out, SEED)

    def write() -> None:
        models.write(1, task.state().pieces())
        models.wait()

    try:
        return _longest(write)
    finally:
        models.remove()


def _longest(what: Callable[[], object]) -> float:
    what()
    longest = 0.0
    for _ in range(_REPEATS):
        began = time.perf_counter()
        what()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        longest = max(longest, time.perf_counter() - began)
    return round(1000 * longest, 3)


def _deviations(
    task: Task, gradient_ms: float, name: str, options: Mapping[str, Option], folder: Path, threads: int
) -> tuple[float, float]:
    """Return the largest relative and absolute deviation between this process and one of another class."""
    computed = max(1, int(_SECONDS * 1000 / max(gradient_ms, 1e-3) / _PER_MODEL))
    models = max(1, min(_MODELS, computed, _MOST_BYTES // (4 * task.dimension)))
    updates = max(1, min(_UPDATES, computed // models))
    parts = min(MAX_PARTS, task.dimension)
    kept, mine = [], []
    for number in range(models):
        kept.append(task.parameters_vector().cpu())
        gradients = [task.gradient(_seed(f"model {number}", i)) for i in range(_PER_MODEL)]
        mine += [part_scalars(gradient, parts, _SKETCH_VALUE) for gradient in gradients]
        for again in range(updates):
            if again:
                gradients = [task.gradient(_seed(f"model {number} {again}", i)) for i in range(_PER_MODEL)]
            task.update(torch.stack(gradients).mean(0))
    theirs = _elsewhere(torch.stack(kept), name, options, folder, threads)
    pairs = [deviations(a, b) for a, b in zip(mine, theirs, strict=True)]
    relative = [max((off / length if off else 0.0) for off, length in found) for found in pairs]
    return _all_but_kinks(relative), _all_but_kinks([max(off for off, _ in found) for found in pairs])


def _all_but_kinks(values: Sequence[float]) -> float:
    return sorted(values)[min(len(values) - 1, int(QUANTILE * len(values)))]


def _elsewhere(
    models: torch.Tensor, name: str, options: Mapping[str, Option], folder: Path, threads: int
) -> list[bytes]:
    """Have a process of another numerics class compute the gradients of all models; return their scalars."""
    with tempfile.TemporaryDirectory() as place:
        save_file({"models": models.contiguous()}, Path(place) / "models.safetensors")
        other = 2 if threads == 1 else 1
        job = {"name": name, "options": dict(options), "folder": str(folder), "threads": other}
        (Path(place) / "job.json").write_text(json.dumps(job), encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-m", "btard.training.measure", place],
            env={**os.environ, **_OTHER_CLASS, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            capture_output=True,
            check=False,
        )
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
            raise BtardError(f"a second process, to compare gradients with, failed: {' '.join(said)[:300]}")
        data = (Path(place) / "scalars").read_bytes()
    size = len(data) // (len(models) * _PER_MODEL)
    return [data[at : at + size] for at in range(0, len(data), size)]


def _be_elsewhere(place: Path) -> None:
    """What the other process does."""
    job = json.loads((place / "job.json").read_text(encoding="utf-8"))
    models = load_file(place / "models.safetensors")["models"]
    set_deterministic(job["threads"])
    task = make_task(job["name"], job["options"], SEED, "cpu", Path(job["folder"]))
    parts = min(MAX_PARTS, task.dimension)
    found = [
        part_scalars(task.gradient_at(model, _seed(f"model {number}", i)), parts, _SKETCH_VALUE)
        for number, model in enumerate(models)
        for i in range(_PER_MODEL)
    ]
    (place / "scalars").write_bytes(b"".join(found))


def _seed(what: str, number: int) -> bytes:
    return digest("measured gradient", what.encode(), number.to_bytes(8, "little"))


if __name__ == "__main__":
    _be_elsewhere(Path(sys.argv[1]))
