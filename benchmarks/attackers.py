"""Every attacker alone, with one and with three of eight peers: is it caught in time, does the model suffer?

    python -m benchmarks.attackers
    python -m benchmarks.attackers --attack slander --seeds 1
    python -m benchmarks.attackers --out attackers --resume     (goes on where one was broken off)

Real processes over ZeroMQ, on the digits task; they are forked from one that has loaded torch. Forms of
one attack (the kinds of slander, the phases of an equivocation) take turns in the runs of that attack, unless
--forms asks for all of them in all. The exit status is 1 if an attacker was not caught within the stated
steps, an honest peer was banned or removed, honest peers ended with different states, or accuracy is more
than 0.02 below that of the run without attack after as many steps.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from attrs import define, field, frozen

from benchmarks.forked import fork, load
from benchmarks.kept import Kept, Record, accuracy_at
from btard.attacks.expected import CASES, Case, When
from btard.attacks.names import parse
from btard.demo.outcome import Curve, Outcome
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
RESULTS = "results.jsonl"
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
        """How long it is."""
        return max(ENOUGH, FIRST + self.within + SETTLING)

    @property
    def key(self) -> tuple[str, int, int]:
        """What tells it from others."""
        return self.case.attack, self.attackers, self.seed

    @property
    def title(self) -> str:
        """Which it is, as the name of a folder."""
        words = "".join(c if c.isalnum() or c in "_=." else "-" for c in self.case.attack)
        return f"{words}-{self.attackers}-of-{PEERS}-seed-{self.seed}"


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
    """Run a plan once, in a new folder in place of any that is there."""
    shutil.rmtree(folder, ignore_errors=True)
    state = RunState.begin(plan, variant, 1, 1, time.monotonic())
    return run_variant(state, folder, task, contextlib.nullcontext(lambda: None), start=fork)


@frozen
class Result:
    """What came of one trial."""

    trial: Trial
    outcome: Outcome
    free: Curve  # the accuracies without attack

    @property
    def goal(self) -> float | None:
        """The accuracy without attack after as many steps."""
        return accuracy_at(self.free, self.outcome.plan.steps)

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
        case, main = self.trial.case, self.outcome
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
        if (main.accuracy or 0.0) < (self.goal or 0.0) - LOSS_GOAL:
            yield f"accuracy {shown(main.accuracy)}, without attack {shown(self.goal)}"

    def row(self) -> str:
        """Return a line of the table."""
        main, trial = self.outcome, self.trial
        steps = "-" if self.steps is None else str(self.steps)
        stated = "-" if trial.case.when is When.NEVER else str(trial.within)
        return (
            f"{trial.case.attack:46} {trial.seed:4} {self.caught:3} of {trial.attackers} "
            f"{steps:>6} {stated:>7} "
            f"{len(main.honest_expelled):7} {'yes' if main.digests_equal else 'NO':>7} "
            f"{shown(main.accuracy):>9} {shown(self.goal):>9} {main.seconds:5.0f} s"
        )


HEAD = (
    f"{'attack':46} seed  caught  steps  stated  honest  states  accuracy   without\n"
    f"{'':46}                                    out   equal               attack"
)


@define
class Session:
    """Runs trials, and keeps what came of them."""

    folder: Path
    kept: Kept
    longest: int  # steps of the run without attack, which serves all trials of its seed
    broken: list[str] = field(factory=list)
    _tasks: dict[int, TaskIdentity] = field(factory=dict)

    def play(self, number: int, total: int, trial: Trial) -> None:
        """Run one trial unless it has been, and the run without attack of its seed if there was none yet."""
        if trial.key in self.kept.records:
            return
        try:
            task = self._task(trial.seed)
            free = self._without_attack(trial.seed, task)
            outcome = run(trial.plan, Variant.BTARD, self.folder / trial.title, task)
        except BtardError as error:
            self.broken.append(f"{trial.title}: {error}")
            print(f"{number}/{total} broke off: {self.broken[-1]}", flush=True)
            return
        result = Result(trial, outcome, free)
        record = Record(*trial.key, row=result.row(), problems=tuple(result.problems()))
        self.kept.add(record)
        print(f"{number:3}/{total} {record.row}", flush=True)
        for problem in record.problems:
            print(f"    NO: {problem}", flush=True)

    def _task(self, seed: int) -> TaskIdentity:
        if seed not in self._tasks:
            self._tasks[seed] = identify_task(_free_plan(seed, self.longest))
        return self._tasks[seed]

    def _without_attack(self, seed: int, task: TaskIdentity) -> Curve:
        curve = self.kept.curves.get(seed, ())
        if not curve or curve[-1][0] < self.longest:
            print(f"seed {seed}: {self.longest} steps without attack", flush=True)
            plan = _free_plan(seed, self.longest)
            outcome = run(plan, Variant.ATTACK_FREE, self.folder / f"free-seed-{seed}", task)
            curve = outcome.accuracies
            self.kept.add_curve(seed, curve)
        return curve


def _free_plan(seed: int, steps: int) -> Plan:
    return Plan(PEERS, steps, seed, {}, TAU, VALIDATORS)


def _options(arguments: Sequence[str] | None) -> tuple[argparse.Namespace, list[Trial]]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2, help="how many seeds")
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--attack", default="", help="only attacks that begin so, as in slander:kind=scalars")
    parser.add_argument("--forms", action="store_true", help="every form of an attack, not in turns")
    parser.add_argument(
        "--out", type=Path, help=f"keep {RESULTS} and each run's folder in this one; else nothing is kept"
    )
    parser.add_argument("--resume", action="store_true", help=f"leave out the runs that are in OUT/{RESULTS}")
    options = parser.parse_args(arguments)
    cases = [case for case in CASES if case.attack.startswith(options.attack)]
    if not cases:
        known = ", ".join(case.attack for case in CASES)
        parser.error(f"no attack begins with '{options.attack}'; there are {known}")
    if options.resume and options.out is None:
        parser.error("--resume needs the --out of the runs to go on with")
    if options.out is not None and (options.out / RESULTS).exists() and not options.resume:
        parser.error(f"{options.out} holds results already: give --resume to go on with them, or another --out")
    seeds = range(options.first_seed, options.first_seed + max(1, options.seeds))
    return options, list(trials(cases, seeds, options.forms))


def _play(planned: Sequence[Trial], folder: Path, kept: Kept) -> Session:
    folder.mkdir(parents=True, exist_ok=True)
    load()
    session = Session(folder, kept, max(trial.steps for trial in planned))
    for number, trial in enumerate(planned, 1):
        session.play(number, len(planned), trial)
    return session


def main(arguments: Sequence[str] | None = None) -> int:
    options, planned = _options(arguments)
    began = time.monotonic()
    if options.out is not None:
        session = _play(planned, options.out, Kept.read(options.out / RESULTS))
    else:
        with tempfile.TemporaryDirectory(prefix="btard-attackers-") as temporary:
            session = _play(planned, Path(temporary), Kept(None))
    found = [session.kept.records[trial.key] for trial in planned if trial.key in session.kept.records]
    print(f"\n{HEAD}")
    for record in found:
        print(record.row)
    wrong = sum(bool(record.problems) for record in found)
    minutes = (time.monotonic() - began) / 60
    print(f"{len(found)} runs, {wrong} not as promised, {len(session.broken)} broke off; {minutes:.0f} min")
    return int(bool(wrong or session.broken))


if __name__ == "__main__":
    sys.exit(main())
