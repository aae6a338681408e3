"""Peers whose machines round differently train together: nobody honest is accused, and cheats are caught.

    python -m benchmarks.mixed_hardware [--steps 300] [--peers 6] [--attack NAME@STEP ...]

Real processes on this machine, each forced into another numerics class: instruction sets that torch and its
libraries are told to use, and one or two threads. The first run is without attackers, the second has those
that are given (or one of each kind that falsifies gradients). Printed for each: steps, accusations of honest
peers, how far off honest gradients were at most, in units of what judges let pass (1 is guilty), who was
caught and when, and whether all models are equal.

The exit status is 1 if an honest peer was accused or is out, a cheat was not caught, or models differ.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attrs import evolve, frozen

from btard.attacks.names import BUILT_IN
from btard.demo.plan import Plan, Variant, make_plan
from btard.demo.setup import Launch, identify_task, prepare_run
from btard.demo.state import RunState
from btard.demo.supervise import peer_command, supervise
from btard.errors import BtardError
from btard.genesis import RunFile
from btard.runfile import dump
from btard_transports.ports import free_endpoints

GRADIENT_ATTACKS = ("sign_flip", "random_direction", "label_flip", "delayed_gradient")


@frozen
class Machine:
    """A numerics class that can be forced on any processor."""

    instructions: str
    threads: int

    @property
    def settings(self) -> dict[str, str]:
        """The variables of a process's environment that make it be of this class."""
        onednn = {"default": "SSE41", "avx2": "AVX2", "avx512": "AVX512_CORE"}[self.instructions]
        return {
            "ATEN_CPU_CAPABILITY": self.instructions,
            "ONEDNN_MAX_CPU_ISA": onednn,
            "OMP_NUM_THREADS": str(self.threads),
            "MKL_NUM_THREADS": str(self.threads),
        }

    def command(self, launch: Launch) -> list[str]:
        """Return the command that runs a peer in this class."""
        settings = [f"{name}={value}" for name, value in self.settings.items()]
        return ["env", *settings, *peer_command(launch), "--threads", str(self.threads)]


def machines() -> list[Machine]:
    """Return what this processor can be made to be."""
    flags = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    sets = ["default", *(name for name, flag in (("avx2", " avx2 "), ("avx512", " avx512f ")) if flag in flags)]
    return [Machine(name, threads) for threads in (1, 2) for name in sets]


@frozen
class Outcome:
    """What the honest peers of one run reported."""

    steps: int
    classes: int
    deviation: float
    excess: float
    accusations: list[str]
    out: list[str]
    caught: list[str]
    missed: list[str]
    equal: bool
    seconds: float

    @property
    def good(self) -> bool:
        """Whether all was as it has to be."""
        return self.equal and not (self.accusations or self.out or self.missed)


def run(folder: Path, plan: Plan, variant: Variant, gradient_rtol: float) -> Outcome:
    """Run real peers of as many classes as there are; raise BtardError where an honest one dies."""
    began = time.monotonic()
    with free_endpoints(plan.peers) as endpoints:
        genesis, launches = prepare_run(folder, plan, variant, identify_task(plan), endpoints)
        mixed = _tolerant(genesis, gradient_rtol)
        launches[0].run_file.write_text(dump(mixed), encoding="utf-8")
        state = RunState.begin(plan, variant, 1, 1, time.monotonic())
        kinds = machines()
        supervise(
            state, launches, lambda: None, lambda launch: kinds[launch.index % len(kinds)].command(launch)
        )
    honest = [launch for launch in launches if launch.attack is None]
    events = {launch.index: _events(launch) for launch in honest}
    return _outcome(launches, events, time.monotonic() - began)


def _tolerant(genesis: RunFile, gradient_rtol: float) -> RunFile:
    parameters = evolve(genesis.parameters, gradient_rtol=gradient_rtol)
    return evolve(genesis, numerics="tolerant", parameters=parameters)


def _events(launch: Launch) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (launch.out / "events.jsonl").read_text().splitlines()]


def _outcome(launches: Sequence[Launch], events: dict[int, list[dict[str, Any]]], seconds: float) -> Outcome:
    cheats = {launch.index: launch.attack for launch in launches if launch.attack is not None}
    said = [entry for own in events.values() for entry in own]
    summaries = [entry for entry in said if entry["event"] == "summary"]
    numerics = [entry for entry in said if entry["event"] == "numerics"]
    expelled = {entry["peer"]: entry for entry in said if entry["event"] == "expelled"}
    caught_in = {entry["step"] for peer, entry in expelled.items() if peer in cheats}
    accused = {  # where a validator's target cheats, claims name the validator, and the target is found guilty
        f"{entry['accuser']} on {entry['accused']} in step {entry['step']}: {entry['reason']}"
        for entry in said
        if entry["event"] == "accused" and entry["accused"] not in cheats and entry["step"] not in caught_in
    }
    return Outcome(
        steps=min(summary["steps"] for summary in summaries),
        classes=max(len(entry["classes"]) for entry in numerics),
        deviation=max(entry["deviation"] for entry in numerics),
        excess=max(
            (
                excess
                for summary in summaries
                for peer, excess in summary["excesses"].items()
                if int(peer) not in cheats
            ),
            default=0.0,
        ),
        accusations=sorted(accused),
        out=[f"{peer} in step {entry['step']}" for peer, entry in expelled.items() if peer not in cheats],
        caught=[f"{cheats[peer]} in {entry['step']}" for peer, entry in expelled.items() if peer in cheats],
        missed=[str(attack) for peer, attack in cheats.items() if peer not in expelled],
        equal=len({summary["digest"] for summary in summaries}) == 1 and len(summaries) == len(events),
        seconds=seconds,
    )


def table(outcome: Outcome) -> str:
    """Return the outcome as lines."""
    rows = {
        "steps": outcome.steps,
        "numerics classes": outcome.classes,
        "deviation of canaries": f"{outcome.deviation:.1e}",
        "honest deviation, share of the tolerance": f"{outcome.excess:.1e}",
        "false accusations": ", ".join(outcome.accusations) or 0,
        "honest peers out": ", ".join(outcome.out) or 0,
        "cheats caught": ", ".join(outcome.caught) or "none there",
        "cheats missed": ", ".join(outcome.missed) or 0,
        "digests equal": "yes" if outcome.equal else "NO",
        "seconds": f"{outcome.seconds:.0f}",
    }
    return "\n".join(f"  {name:42} {value}" for name, value in rows.items())


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mixed_hardware", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--peers", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--gradient-rtol", type=float, default=4e-3)
    parser.add_argument("--attack", action="append", default=[], help="NAME@STEP, in the second run")
    parser.add_argument("--only-attacked", action="store_true", help="leave out the run without attackers")
    options = parser.parse_args(arguments)
    most = (options.peers - 2) // 2
    known = [f"{name}@{options.steps // 10 + 1}" for name in GRADIENT_ATTACKS if name in BUILT_IN]
    attacks = options.attack or known[:most]
    variants = [Variant.BTARD] if options.only_attacked else [Variant.ATTACK_FREE, Variant.BTARD]
    try:
        plan = make_plan(
            peers=options.peers, steps=options.steps, seed=options.seed, attacks=attacks, tau=0.3, validators=1
        )
        good = True
        with tempfile.TemporaryDirectory() as folder:
            for variant in variants:
                outcome = run(Path(folder) / variant.value, plan, variant, options.gradient_rtol)
                print(f"{variant.title}, gradient_rtol {options.gradient_rtol:g}\n{table(outcome)}", flush=True)
                good = good and outcome.good
    except BtardError as error:
        print(error, file=sys.stderr)
        return 1
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
