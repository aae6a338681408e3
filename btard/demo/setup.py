"""The folder of a demonstration, and in it everything that the peers of one run start from."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from attrs import frozen

from btard.attacks.names import AttackSpec
from btard.demo.plan import Plan, Variant
from btard.errors import BtardError
from btard.genesis import PeerEntry, RunFile, TaskSection
from btard.genesis_problems import problems
from btard.keys import KeyPair
from btard.runfile import RunFileError, dump
from btard.statemachine.parameters import Timing

MARKER: Final = ".btard-demo"
SUMMARY: Final = "summary.json"
MODEL: Final = "model.safetensors"
PICTURES: Final = ("comparison.png", "comparison.svg")
_MADE: Final = (*(variant.value for variant in Variant), SUMMARY, MODEL, *PICTURES, MARKER)

_MARKER_TEXT: Final = "Made by `btard demo`, which replaces its own files in this folder when it runs again.\n"

# One busy machine: eight processes share two processors. No phase took longer than 1.3 s where four times as
# many programs wanted to run as there were processors. The bounds on computing cost nothing unless a peer
# falls silent, but for two: a ban takes 2 (f + 1) delta + c_commit + c_judge.
TIMING: Final = Timing.derive(
    delta=750,
    delta_bulk=1500,
    c_commit=1500,
    c_aggregate=1000,
    c_reveal=1000,
    c_validate=1000,
    c_accuse=1500,
    c_judge=1500,
    c_publish=1000,
)


@frozen
class TaskIdentity:
    """What the run file says about the task: its dimension, and the digests of its model and data."""

    dimension: int
    model_digest: bytes
    data_digest: bytes


@frozen
class Launch:
    """What one peer is started with."""

    index: int
    run_file: Path
    key: Path
    out: Path
    log: Path
    attack: AttackSpec | None


def prepare_folder(folder: Path) -> None:
    """Make the folder, or take an earlier demonstration's files out of it; raise BtardError for any other."""
    if folder.is_dir():
        if any(folder.iterdir()) and not (folder / MARKER).is_file():
            raise BtardError(
                f"{folder} holds something that is not a demo's; choose another --out, or empty it"
            )
        for name in _MADE:
            _remove(folder / name)
    elif folder.exists() or folder.is_symlink():
        raise BtardError(f"{folder} is no folder; choose another --out")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARKER).write_text(_MARKER_TEXT, encoding="utf-8")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def identify_task(plan: Plan) -> TaskIdentity:
    """Return the identity of the digits task with the plan's seed, and check its attacks' options.

    Costs the import of torch. Raises BtardError.
    """
    from btard.attacks.names import make_attack
    from btard.training.loading import TaskError, make_task

    for spec in plan.attacks.values():
        make_attack(spec)
    try:
        task = make_task("digits", {}, plan.run_seed, "cpu")
    except TaskError as error:
        raise BtardError(str(error)) from error
    return TaskIdentity(task.dimension, task.model_digest(), task.data_digest())


def prepare_run(
    folder: Path, plan: Plan, variant: Variant, task: TaskIdentity, endpoints: Sequence[tuple[str, str]]
) -> tuple[RunFile, list[Launch]]:
    """Write the keys and the run file of one run into a new folder; raise BtardError.

    ``endpoints`` holds (control, bulk) for each peer.
    """
    folder.mkdir()
    keys = [KeyPair.generate() for _ in range(plan.peers)]
    entries = tuple(
        PeerEntry(f"peer-{index}", pair.sign_public, pair.curve_public, control, bulk)
        for index, (pair, (control, bulk)) in enumerate(zip(keys, endpoints, strict=True))
    )
    run = RunFile(
        name=f"demo-{variant.value}",
        seed=plan.run_seed,
        task=TaskSection("digits", {}, task.model_digest, task.data_digest),
        parameters=plan.parameters(variant, task.dimension),
        timing=TIMING,
        evaluate_every=plan.evaluate_every,
        numerics="exact",
        bulk_security="curve",
        peers=entries,
    )
    run_file = folder / "run.toml"
    if found := list(problems(run)):
        raise RunFileError(run_file, found)
    run_file.write_text(dump(run), encoding="utf-8")
    for entry, pair in zip(entries, keys, strict=True):
        pair.save(folder / f"{entry.name}.key")
    return run, _launches(folder, run_file, plan.peers, plan.attacks if variant.attacked else {})


def _launches(folder: Path, run_file: Path, peers: int, attacks: Mapping[int, AttackSpec]) -> list[Launch]:
    return [
        Launch(
            index=index,
            run_file=run_file,
            key=folder / f"peer-{index}.key",
            out=folder / f"peer-{index}",
            log=folder / f"peer-{index}.log",
            attack=attacks.get(index),
        )
        for index in range(peers)
    ]
