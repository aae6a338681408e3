"""The demonstration from start to end: three runs, one after the other, and what they leave behind."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from btard.demo.outcome import Outcome, outcome_of, summary
from btard.demo.plan import Plan, Variant
from btard.demo.processes import Spawn, spawn
from btard.demo.setup import MODEL, SUMMARY, TaskIdentity, identify_task, prepare_folder, prepare_run
from btard.demo.state import RunState
from btard.demo.supervise import STALL_SECONDS, Command, peer_command, supervise
from btard.demo.verdict import Finding, findings
from btard_transports.ports import free_endpoints


class Screen(Protocol):
    """Where people watch."""

    def opening(self, plan: Plan, folder: Path, runs: int) -> None:
        """Say what is going to happen."""

    def watch(self, state: RunState) -> AbstractContextManager[Callable[[], None]]:
        """Show a run while the context is open; it gives what is called when ``state`` may have changed."""

    def closing_run(self, outcome: Outcome) -> None:
        """Say what came of one run."""

    def verdict(self, found: Sequence[Finding], folder: Path, pictures: Sequence[Path]) -> None:
        """Say what all of it has shown, and where it lies."""


def give(
    plan: Plan,
    folder: Path,
    screen: Screen,
    *,
    compare: bool = True,
    identify: Callable[[Plan], TaskIdentity] = identify_task,
    command: Command = peer_command,
    stall_seconds: float = STALL_SECONDS,
) -> dict[Variant, Outcome]:
    """Give the demonstration, and return what came of each run.

    Writes `summary.json`, the trained model and the picture into ``folder``. Raises BtardError where it
    cannot be given to its end, KeyboardInterrupt or SystemExit on signals; no process is left in any case.
    """
    variants = tuple(Variant) if compare else (Variant.BTARD,)
    prepare_folder(folder)
    screen.opening(plan, folder, len(variants))
    task = identify(plan)
    outcomes: dict[Variant, Outcome] = {}
    for number, variant in enumerate(variants, 1):
        state = RunState.begin(plan, variant, number, len(variants), time.monotonic())
        outcomes[variant] = run_variant(
            state, folder / variant.value, task, screen.watch(state), command, stall_seconds
        )
        screen.closing_run(outcomes[variant])
        _keep(folder, outcomes)
    screen.verdict(findings(outcomes), folder, _draw(folder, outcomes))
    return outcomes


def run_variant(
    state: RunState,
    folder: Path,
    task: TaskIdentity,
    watching: AbstractContextManager[Callable[[], None]],
    command: Command = peer_command,
    stall_seconds: float = STALL_SECONDS,
    start: Spawn = spawn,
) -> Outcome:
    """Run one variant of a plan in a new folder, and return what came of it; raises what `give` raises."""
    # the addresses stay reserved until the peers have ended
    with free_endpoints(state.plan.peers) as endpoints:
        run, launches = prepare_run(folder, state.plan, state.variant, task, endpoints)
        with watching as refresh:
            supervise(state, launches, refresh, command, stall_seconds, start)
    return outcome_of(state, run.run_id.hex(), state.now - state.began)


def _keep(folder: Path, outcomes: dict[Variant, Outcome]) -> None:
    """Write what is known so far, so that a later run that fails does not take it along."""
    text = json.dumps(summary(outcomes), indent=2, allow_nan=False)
    (folder / SUMMARY).write_text(text + "\n", encoding="utf-8")
    model = folder / Variant.BTARD.value / f"peer-{outcomes[Variant.BTARD].observer}" / MODEL
    if model.is_file():
        shutil.copyfile(model, folder / MODEL)


def _draw(folder: Path, outcomes: dict[Variant, Outcome]) -> list[Path]:
    from btard.demo.picture import draw

    return draw(outcomes, folder)
