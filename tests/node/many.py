"""Many runs with mixed attacks: no honest peer is ever expelled.

`python -m tests.node.many --seeds 50` runs them and prints a line for each; a failing seed can be run again by
itself with `--first SEED --seeds 1`. CI runs a few (test_many.py).
"""

from __future__ import annotations

import argparse
import random
import sys
import time
import traceback
from collections.abc import Sequence

from btard.statemachine.messages import ClaimKind
from tests.node import liars
from tests.node.cluster import Cluster, Tamper

PEERS, STEPS = 8, 8
ATTACKS = (
    "sign_flip",
    "bad_aggregate",
    "NotANumber",
    "NanAggregate",
    "InfAggregate",
    "HugeAggregate",
    "LargestAggregate",
    "HugeGradient",
    "NoGradient",
)
LIES = ("wrong scalars", "long scalars", "lazy validator", *liars.SLANDERS)


def mixed(seed: int) -> Cluster:
    """A run of 8 peers in which up to 3 cheat, each in its own way from its own step on."""
    draws = random.Random(f"mixed {seed}")
    attacks: dict[int, str] = {}
    tampers: dict[int, Tamper] = {}
    for cheat in draws.sample(range(PEERS), draws.randint(1, 3)):
        step = draws.randint(1, STEPS - 2)
        what = draws.choice([*ATTACKS, *LIES])
        if what in ATTACKS:
            attacks[cheat] = f"{what}@{step}"
        else:
            tampers[cheat] = _lie(what, step, draws)
    tau = draws.choice([0.01, 0.3, 10.0])
    return Cluster(
        peers=PEERS, steps=STEPS, seed=seed, attacks=attacks, tampers=tampers, parameters={"tau": tau}
    )


def _lie(what: str, step: int, draws: random.Random) -> Tamper:
    match what:
        case "wrong scalars":
            return liars.wrong_scalars(step, draws.choice([0.0, 0.5, 0.999, -1.0]))
        case "long scalars":
            return liars.wrong_scalars(step, 1.5)
        case "lazy validator":
            return liars.lazy_validator(step)
    return liars.slanderer(ClaimKind(what), step)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=50, help="how many runs")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    chosen = parser.parse_args(arguments)
    failed = 0
    for seed in range(chosen.first, chosen.first + chosen.seeds):
        start = time.monotonic()
        cluster = mixed(seed)
        try:
            cluster.run().check_agreement()
            outcome = ", ".join(f"{out['peer']} {out['rule']}" for out in cluster.expelled()) or "nobody"
        except AssertionError as error:
            failed += 1
            outcome = f"FAILED: {traceback.extract_tb(error.__traceback__)[-1].line}"
        cheats = {**cluster.attacks, **dict.fromkeys(cluster.tampers, "lies")}
        print(f"seed {seed}: {cheats}; expelled: {outcome} ({time.monotonic() - start:.1f} s)", flush=True)
    print(f"{failed} of {chosen.seeds} runs failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
