"""Every attacker alone, with one and with three of eight peers: is it caught in time, does the model suffer?

    python -m benchmarks.attackers
    python -m benchmarks.attackers --attack slander --seeds 1

Real processes over ZeroMQ, on the digits task. Forms of one attack (the kinds of slander, the phases of an
equivocation) take turns in the runs of that attack, unless --forms asks for all of them in all. The exit status
is 1 if an attacker was not caught within the stated steps, an honest peer was banned or removed, honest peers
ended with different states, or accuracy is more than 0.02 below that of the run without attack.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from attrs import define, field, frozen

from btard.attacks.expected import CASES, Case, When
from btard.attacks.names import parse
from btard.demo.outcome import Outcome
from btard.demo.plan import Plan, Variant, shuffled
from btard.demo.setup import TaskIdentity, identify_task
from btard.demo.show import run_variant
from btard.demo.state import RunState
from btard.demo.verdict import shown
from btard.errors import BtardError

PEERS, VALIDATORS, TAU = 8, 1, 0.3
FIRST = 5  # the step in which attacks begin
LOSS_GOAL = 0.02  # of accuracy
SETTLING = 10  # steps after the last that an attacker may take
ENOUGH = 80  # steps after which accuracy hardly moves any more


@frozen
class Trial:
    """One run: a case, by so many attackers, with one seed."""

    case: Case
    attackers: int
    seed: int

    @property
    def within(self) -> int:
        """Within how many steps each of its attackers has to be caught."""
        return self.case.within(PEERS, VALIDATORS, self.attackers)

    @property
    def plan(self) -> Plan:
        """Who attacks in it, and how."""
        cheats = tuple(sorted(shuffled(PEERS, self.seed)[: self.attackers]))
        texts = self.case.texts(cheats, FIRST)
        attacks = {peer: parse(text) for peer, text in texts.items()}
        return Plan(PEERS, self.steps, self.seed, attacks, TAU, VALIDATORS)

    @property
    def steps(self) -> int:
        """How long it is: the same for one attacker and for three."""
        return max(ENOUGH, FIRST + self.case.within(PEERS, VALIDATORS, 3) + SETTLING)


def trials(cases: Sequence[Case], seeds: Sequence[int], all_forms: bool) -> Iterator[Trial]:
    """Return the runs; the forms of one attack take turns."""
    for _, found in groupby(cases, key=lambda case: case.name):
        forms = list(found)
        places = [(size, seed) for seed in seeds for size in (0, 1)]
        for turn, (size, seed) in enumerate(places):
            for form in forms if all_forms else [forms[turn % len(forms)]]:
                yield Trial(form, form.sizes()[size], seed)
        for turn in range(len(places), 0 if all_forms else len(forms)):
            yield Trial(forms[turn], forms[turn].sizes()[turn % 2], seeds[-1])


def run(plan: Plan, variant: Variant, folder: Path, task: TaskIdentity) -> Outcome:
    """Run a plan once."""
    state = RunState.begin(plan, variant, 1, 1, time.monotonic())
    return run_variant(state, folder, task, contextlib.nullcontext(lambda: None))


@frozen
class Result:
    """What came of one trial."""

    trial: Trial
    outcome: Outcome
    free: Outcome

    @property
    def caught(self) -> int:
        """How many attackers lost their place."""
        return sum(gone.peer in self.outcome.attacks for gone in self.outcome.expelled)

    @property
    def steps(self) -> int | None:
        """How many steps after its first the last of them lost it."""
        return max((gone.step - FIRST for gone in self.outcome.expelled), default=None)

    def problems(self) -> Iterator[str]:
        """Say what was promised and is not so."""
        case, main, free = self.trial.case, self.outcome, self.free
        kept = len(main.attacks) - self.caught
        if case.when is not When.NEVER:
            if kept > case.spares * (len(main.attacks) > case.least):
                yield f"{kept} of {len(main.attacks)} attackers kept their place"
            if self.steps is not None and self.steps > self.trial.within:
                yield f"caught after {self.steps} steps, more than the {self.trial.within} that are stated"
        for gone in main.expelled:
            if gone.peer in main.attacks and (gone.rule not in case.rules or gone.kind not in case.kind):
                yield f"{gone.verb} by {gone.rule} ({gone.reason}); expected {case.kind} by {case.rules}"
        for gone in main.honest_expelled:
            yield f"honest peer {gone.peer} {gone.verb} in step {gone.step} by {gone.rule}: {gone.reason}"
        for peer, reason in main.failures.items():
            yield f"honest peer {peer} did not finish: {reason}"
        if not main.digests_equal:
            yield "honest peers ended with different states"
        if (main.accuracy or 0.0) < (free.accuracy or 0.0) - LOSS_GOAL:
            yield f"accuracy {shown(main.accuracy)}, without attack {shown(free.accuracy)}"

    def row(self) -> str:
        """Return a line of the table."""
        main, trial = self.outcome, self.trial
        steps = "-" if self.steps is None else str(self.steps)
        stated = "-" if trial.case.when is When.NEVER else str(trial.within)
        return (
            f"{trial.case.attack:46} {trial.seed:4} {self.caught:3} of {trial.attackers} "
            f"{steps:>6} {stated:>7} "
            f"{len(main.honest_expelled):7} {'yes' if main.digests_equal else 'NO':>7} "
            f"{shown(main.accuracy):>9} {shown(self.free.accuracy):>9} {main.seconds:5.0f} s"
        )


HEAD = (
    f"{'attack':46} seed  caught  steps  stated  honest  states  accuracy   without\n"
    f"{'':46}                                    out   equal               attack"
)


@define
class Session:
    """Runs trials, and keeps what came of them."""

    folder: Path
    results: list[Result] = field(factory=list)
    broken: list[str] = field(factory=list)
    _free: dict[tuple[int, int], tuple[TaskIdentity, Outcome]] = field(factory=dict)

    def play(self, number: int, total: int, trial: Trial) -> None:
        """Run one trial, and the run without attack of its seed if there was none yet."""
        try:
            task, free = self._without_attack(trial.seed, trial.steps)
            outcome = run(trial.plan, Variant.BTARD, self.folder / f"run-{number}", task)
        except BtardError as error:
            self.broken.append(f"{trial.case.attack}, {trial.attackers} of {PEERS}, seed {trial.seed}: {error}")
            print(f"{number}/{total} broke off: {self.broken[-1]}", flush=True)
            return
        self.results.append(Result(trial, outcome, free))
        print(f"{number:3}/{total} {self.results[-1].row()}", flush=True)
        for problem in self.results[-1].problems():
            print(f"    NO: {problem}", flush=True)

    def _without_attack(self, seed: int, steps: int) -> tuple[TaskIdentity, Outcome]:
        if (seed, steps) not in self._free:
            plan = Plan(PEERS, steps, seed, {}, TAU, VALIDATORS)
            task = identify_task(plan)
            print(f"seed {seed}: {steps} steps without attack", flush=True)
            outcome = run(plan, Variant.ATTACK_FREE, self.folder / f"free-{seed}-{steps}", task)
            self._free[seed, steps] = task, outcome
        return self._free[seed, steps]

    def failed(self) -> bool:
        """Whether anything was not as it should be."""
        return bool(self.broken) or any(list(result.problems()) for result in self.results)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2, help="how many seeds")
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--attack", default="", help="only attacks that begin so, as in slander:kind=scalars")
    parser.add_argument("--forms", action="store_true", help="every form of an attack, not in turns")
    parser.add_argument("--out", type=Path, help="keep each run's folder in this one; else none is kept")
    options = parser.parse_args(arguments)
    cases = [case for case in CASES if case.attack.startswith(options.attack)]
    if not cases:
        known = ", ".join(case.attack for case in CASES)
        parser.error(f"no attack begins with '{options.attack}'; there are {known}")
    seeds = range(options.first_seed, options.first_seed + max(1, options.seeds))
    planned = list(trials(cases, seeds, options.forms))
    with tempfile.TemporaryDirectory(prefix="btard-attackers-") as temporary:
        folder = options.out or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        session = Session(folder)
        for number, trial in enumerate(planned, 1):
            session.play(number, len(planned), trial)
    print(f"\n{HEAD}")
    for result in session.results:
        print(result.row())
    wrong = sum(bool(list(result.problems())) for result in session.results)
    print(f"{len(session.results)} runs, {wrong} not as promised, {len(session.broken)} broke off")
    return int(session.failed())


if __name__ == "__main__":
    sys.exit(main())
