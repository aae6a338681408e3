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

from tests.node.cluster import Cluster

PEERS, STEPS = 8, 8
ATTACKS = (
    "sign_flip",
    "bad_aggregate",
    "nan",
    "NanAggregate",
    "InfAggregate",
    "HugeAggregate",
    "LargestAggregate",
    "HugeGradient",
    "NoGradient",
    *(f"bad_scalars:factor={factor}" for factor in (0.0, 0.5, 0.999, -1.0, 1.5)),
    "lazy_validator",
    *(f"slander:kind={kind}" for kind in ("any", "gradient", "validator", "aggregate", "scalars", "nonfinite")),
)


def mixed(seed: int) -> Cluster:
    """A run of 8 peers in which up to 3 cheat, each in its own way from its own step on."""
    draws = random.Random(f"mixed {seed}")
    attacks: dict[int, str] = {}
    for cheat in draws.sample(range(PEERS), draws.randint(1, 3)):
        name, _, options = draws.choice(ATTACKS).partition(":")
        attacks[cheat] = f"{name}@{draws.randint(1, STEPS - 2)}:{options}"
    tau = draws.choice([0.01, 0.3, 10.0])
    return Cluster(peers=PEERS, steps=STEPS, seed=seed, attacks=attacks, parameters={"tau": tau})


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
        print(
            f"seed {seed}: {dict(cluster.attacks)}; expelled: {outcome} ({time.monotonic() - start:.1f} s)",
            flush=True,
        )
    print(f"{failed} of {chosen.seeds} runs failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
