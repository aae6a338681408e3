"""A folder with the run file and the keys of a small run of the digits task, as its operators would have it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from attrs import evolve

from btard.demo.setup import TIMING
from btard.genesis import PeerEntry, RunFile, TaskSection
from btard.hashing import digest
from btard.runfile import dump
from btard.statemachine.parameters import Parameters
from btard.training.digits import DigitsTask
from tests.node.cluster import key

SEED = digest("test digits")


@cache
def _digits() -> tuple[TaskSection, int]:
    task = DigitsTask(SEED, batch_size=8)
    section = TaskSection("digits", {"batch_size": 8}, task.model_digest(), task.data_digest())
    return section, task.dimension


def digits_run(endpoints: Sequence[tuple[str, str]], steps: int) -> RunFile:
    """The genesis of a run of one peer for each (control, bulk); times suit a busy machine."""
    section, dimension = _digits()
    peers = len(endpoints)
    return RunFile(
        name="test",
        seed=SEED,
        task=section,
        parameters=Parameters(
            steps=steps,
            dimension=dimension,
            tau=0.3,
            validators=1,
            f_max=(peers - 2) // 2,
            gradient_clip=math.inf,
            gradient_rtol=1e-6,
            alarm_factor=4.0,
            late_brake=(peers - 2) // 2,
            window=20,
        ),
        timing=TIMING,
        evaluate_every=3,
        numerics="exact",
        bulk_security="curve",
        peers=tuple(
            PeerEntry(f"p{index}", key(index).sign_public, key(index).curve_public, *addresses)
            for index, addresses in enumerate(endpoints)
        ),
    )


def write(folder: Path, run: RunFile, name: str = "run.toml") -> Path:
    """Write the run file, and the key files where there are none yet."""
    for index in range(len(run.peers)):
        if not (path := folder / f"p{index}.key").exists():
            key(index).save(path)
    file = folder / name
    file.write_text(dump(run))
    return file


def with_task(run: RunFile, **changes: object) -> RunFile:
    """The same run with another task section."""
    return evolve(run, task=evolve(run.task, **changes))
