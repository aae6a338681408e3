"""Many attacked runs with different seeds: does an honest peer lose its place, does a cheat keep its own?

    python -m benchmarks.many_runs --runs 10

Each is the main run of `btard demo`: real processes over ZeroMQ. The exit status is 1 if any honest peer was
banned or removed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from btard.demo.outcome import Outcome
from btard.demo.plan import Plan, Variant, make_plan
from btard.demo.show import give
from btard.demo.state import RunState
from btard.demo.verdict import Finding, findings, shown, status
from btard.errors import BtardError


class SilentScreen:
    """Shows nothing."""

    def opening(self, plan: Plan, folder: Path, runs: int) -> None:
        pass

    @contextmanager
    def watch(self, state: RunState) -> Iterator[Callable[[], None]]:
        yield lambda: None

    def closing_run(self, outcome: Outcome) -> None:
        pass

    def verdict(self, found: Sequence[Finding], folder: Path, pictures: Sequence[Path]) -> None:
        pass


def line(outcome: Outcome) -> str:
    """Return what came of one run."""
    plan = outcome.plan
    names = {peer: attack.name for peer, attack in plan.attacks.items()}
    bans = [f"{names.get(gone.peer, 'HONEST')} {gone.verb} at {gone.step}" for gone in outcome.expelled]
    missed = [finding.text for finding in findings({Variant.BTARD: outcome}) if finding.holds is False]
    return (
        f"seed {plan.seed}: accuracy {shown(outcome.accuracy)}, {outcome.steps} steps, "
        f"{outcome.seconds:.0f} s; {', '.join(bans) or 'nobody banned'}"
        + "".join(f"\n  NO {text}" for text in missed)
    )


def totals(outcomes: Sequence[Outcome], broken: int) -> str:
    """Return what came of all runs."""
    cheats = sum(len(outcome.attacks) for outcome in outcomes)
    banned = sum(outcome.ban_of(peer) is not None for outcome in outcomes for peer in outcome.attacks)
    honest = sum(len(outcome.honest_expelled) for outcome in outcomes)
    accuracies = [outcome.accuracy for outcome in outcomes if outcome.accuracy is not None]
    flawless = sum(status(findings({Variant.BTARD: outcome})) == 0 for outcome in outcomes)
    spread = f"{min(accuracies):.3f} to {max(accuracies):.3f}" if accuracies else "none"
    return (
        f"{len(outcomes)} runs, {flawless} as promised, {broken} broke off: "
        f"{banned} of {cheats} cheats banned, {honest} honest peers banned or removed, test accuracy {spread}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--peers", type=int, default=8)
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--out", type=Path, help="keep each run's folder in this one; else none is kept")
    options = parser.parse_args()
    outcomes: list[Outcome] = []
    broken = 0
    with tempfile.TemporaryDirectory(prefix="btard-many-runs-") as temporary:
        for seed in range(options.first_seed, options.first_seed + options.runs):
            folder = (options.out or Path(temporary)) / f"seed-{seed}"
            plan = make_plan(
                peers=options.peers, steps=options.steps, seed=seed, attacks=[], tau=0.3, validators=1
            )
            try:
                outcome = give(plan, folder, SilentScreen(), compare=False)[Variant.BTARD]
            except BtardError as error:
                broken += 1
                print(f"seed {seed}: broke off: {error}", flush=True)
                continue
            outcomes.append(outcome)
            print(line(outcome), flush=True)
    print(totals(outcomes, broken))
    return int(broken > 0 or any(outcome.honest_expelled for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
