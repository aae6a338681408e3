"""The demonstration as plain lines, for logs and pipes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from attrs import define
from rich.console import Console
from rich.table import Table
from rich.text import Text

from btard.demo.outcome import Outcome
from btard.demo.plan import Plan, Variant
from btard.demo.setup import MODEL, SUMMARY
from btard.demo.state import RunState
from btard.demo.verdict import Finding, by_rule, counted, shown

LINES_PER_RUN: Final = 20  # besides what happens
_MARKS: Final = {True: ("ok", "bold green"), False: ("NO", "bold red"), None: ("--", "dim")}


class PlainScreen:
    """A line for each thing that happens, and one every few steps."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def say(self, text: str, style: str = "") -> None:
        """Print a line as it is."""
        self.console.print(Text(text, style), soft_wrap=not self.console.is_terminal)

    def opening(self, plan: Plan, folder: Path, runs: int) -> None:
        """Say what is going to happen."""
        self.say(f"{plan.peers} peers train on handwritten digits for {plan.steps} steps, over ZeroMQ.")
        cheats = counted(len(plan.attacks), "cheat")
        self.say(f"{cheats} among them, which the others do not know (seed {plan.seed}):")
        for peer, attack in plan.attacks.items():
            self.say(f"  peer-{peer}: {attack.name} from step {attack.from_step}", "yellow")
        if runs > 1:
            titles = "; ".join(f"{number}. {variant.title}" for number, variant in enumerate(Variant, 1))
            self.say(f"{runs} runs on the same seeds, one after the other: {titles}.")
        self.say(f"Everything goes to {folder}.")

    @contextmanager
    def watch(self, state: RunState) -> Iterator[Callable[[], None]]:
        """Print lines for a run while the context is open."""
        self.say("")
        self.say(f"Run {state.number} of {state.runs}: {state.variant.title}", "bold")
        yield _Lines(self, state).refresh

    def closing_run(self, outcome: Outcome) -> None:
        """Say what came of one run."""
        self.say(
            f"  over after {outcome.steps} steps and {outcome.seconds:.0f} s: "
            f"test accuracy {shown(outcome.accuracy)} (mean of the last evaluations)"
        )

    def verdict(self, found: Sequence[Finding], folder: Path, pictures: Sequence[Path]) -> None:
        """Say what all of it has shown, and where it lies."""
        failed = any(finding.holds is False for finding in found)
        self.say("")
        self.say("Not everything came true:" if failed else "What this has shown:", "bold")
        rows = Table.grid(padding=(0, 1, 0, 0))
        for finding in found:
            mark, style = _MARKS[finding.holds]
            rows.add_row(Text(f"  {mark}", style), Text(finding.text))
            if not self.console.is_terminal:
                self.say(f"  {mark} {finding.text}")
        if self.console.is_terminal:
            self.console.print(rows)
        self.say("")
        self.say(f"The picture: {' and '.join(map(str, pictures))}")
        self.say(f"The trained model: {folder / MODEL}; all figures: {folder / SUMMARY}")


@define(eq=False)
class _Lines:
    """Prints what is new in a run since the last look."""

    screen: PlainScreen
    state: RunState
    begun: bool = False
    step: int = 0
    expelled: int = 0
    troubles: int = 0

    def refresh(self) -> None:
        state = self.state
        if not self.begun and state.training_since is not None:
            self.begun = True
            self._line("all peers are there, training begins")
        for trouble in state.troubles[self.troubles :]:
            self._line(f"trouble: {trouble}", "red")
        for gone in list(state.expelled.values())[self.expelled :]:
            member = state.members[gone.peer]
            who = f"{member.name} ({member.role.partition(' ')[0]})"
            self._line(f"{who} {gone.verb} in step {gone.step} by {by_rule(gone)}", "bold red")
        self.troubles, self.expelled = len(state.troubles), len(state.expelled)
        every = max(1, state.plan.steps // LINES_PER_RUN)
        if state.step // every > self.step // every:
            self._line(progress_line(state))
        self.step = state.step

    def _line(self, text: str, style: str = "") -> None:
        self.screen.say(f"  [{self.state.now - self.state.began:4.0f} s] {text}", style)


def progress_line(state: RunState) -> str:
    """Return step, loss, accuracy, roster and time left in one line."""
    accuracy = "" if math.isnan(state.accuracy) else f", test accuracy {state.accuracy:.3f}"
    left = "" if not state.seconds_left else f", about {state.seconds_left:.0f} s left"
    peers = counted(len(state.roster), "peer")
    return f"step {state.step} of {state.plan.steps}: loss {state.loss:.3g}{accuracy}, {peers}{left}"
