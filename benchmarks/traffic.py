"""What the protocol sends: control bytes, which must not depend on the model's size, and bulk bytes.

    python -m benchmarks.traffic [--dimensions 1e4 1e5 1e6 1e7] [--peers 8] [--steps 3]

Real peers with real arithmetic run in one process over the in-memory transport, in virtual time, on a model of
d parameters for each d. Counted for each step, summed over all peers and divided by their number: the bodies of
all control frames that a peer sends (phase messages, ENTER, pulls and what answers them), before framing and
CURVE, each once per receiver; and the bytes of all objects that it serves. A step ends with its certificate,
so hellos before step 1 and all after the last training step are left out. Which pulls are sent depends on
delays, so here all links and computations have one fixed delay each; nobody cheats, and nothing is disputed.
Validators begin in step 2 and contribute nothing, so step 1 sends a little more than the others.

The exit status is 1 unless each step sends the same control bytes for all d, to the byte.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import time
from collections.abc import Sequence
from functools import partial
from itertools import pairwise

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from attrs import astuple, frozen

from btard.training.task import Task
from tests.node.cluster import Cluster

EXAMPLES = 64
DELAY = (0.005, 0.005)  # seconds, from and to: no chance


class Quadratic(Task):
    """A point that is drawn towards a multiple of `direction`: cheap at any size."""

    def __init__(self, direction: torch.Tensor) -> None:
        self.direction = direction
        self.point = torch.nn.Parameter(torch.zeros_like(direction))
        self.model = torch.nn.ParameterList([self.point])
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)
        self.examples, self.batch_size = EXAMPLES, 8
        self.targets = torch.arange(EXAMPLES).sqrt()  # no two batches have one mean
        self.data = (self.targets,)

    def loss(self, indices: torch.Tensor) -> torch.Tensor:
        return (self.point - self.targets[indices].mean() * self.direction).square().sum() / 2

    def evaluate(self) -> dict[str, float]:
        return {"loss": self.loss(torch.arange(EXAMPLES)).item()}


@frozen
class Sent:
    """What all peers together sent in one step."""

    control_bytes: int
    control_frames: int
    bulk_bytes: int


def measure(dimension: int, peers: int, steps: int) -> list[Sent]:
    """Run so many steps; return what each step sent."""
    direction = torch.linspace(0.5, 1.5, dimension)  # no two parts alike: equal ones would be one object
    cluster = Cluster(
        partial(Quadratic, direction),
        peers=peers,
        steps=steps,
        # No false alarms; and a plain mean, or it would be the median gradient, which its owner need not fetch.
        parameters={"alarm_factor": 1e9, "tau": 1e6},
        latency=DELAY,
    )
    until: list[list[Sent]] = [[] for _ in range(steps + 1)]

    def note(me: int, event: str, /, **fields: int) -> None:
        if event == "certified" and fields["step"] <= steps:  # no closing steps: they train nothing
            counters = cluster.network.hosts[me].counters
            sent = Sent(counters.control_bytes_sent, counters.control_frames_sent, counters.bulk_bytes_sent)
            until[fields["step"]].append(sent)

    for index, node in enumerate(cluster.nodes):
        node.report = partial(note, index)
    cluster.run().check_agreement()
    totals = [Sent(*map(sum, zip(*map(astuple, entries), strict=True))) for entries in until]
    return [
        Sent(*(after - before for before, after in zip(*map(astuple, pair), strict=True)))
        for pair in pairwise(totals)
    ]


def differing(steps_by_dimension: Sequence[Sequence[Sent]]) -> list[int]:
    """Return the steps, from 1, in which not all dimensions sent the same control bytes and frames."""
    return [
        step
        for step, sents in enumerate(zip(*steps_by_dimension, strict=True), 1)
        if len({(sent.control_bytes, sent.control_frames) for sent in sents}) > 1
    ]


def whole(text: str) -> int:
    """Return a whole number that may be written as 1e7."""
    value = float(text)
    if not (value >= 1 and value.is_integer()):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 on")
    return int(value)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    dimensions = [10_000, 100_000, 1_000_000, 10_000_000]
    parser.add_argument("--dimensions", type=whole, nargs="+", default=dimensions, metavar="D")
    parser.add_argument("--peers", type=whole, default=8)
    parser.add_argument("--steps", type=whole, default=3)
    chosen = parser.parse_args(arguments)
    if not 3 <= chosen.peers <= min(chosen.dimensions):
        parser.error("there must be at least 3 peers, and no more than the smallest model has parameters")
    print(f"{chosen.peers} peers, {chosen.steps} steps; per peer and step:")
    print(f"{'d':>10}  {'step':>4}  {'control bytes':>13}  {'frames':>6}  {'bulk bytes':>12}  {'of 4d':>6}")
    found = []
    for dimension in chosen.dimensions:
        start = time.monotonic()
        found.append(measure(dimension, chosen.peers, chosen.steps))
        gc.collect()
        for step, sent in enumerate(found[-1], 1):
            figures = [sent.control_bytes, sent.control_frames, sent.bulk_bytes]
            control, frames, bulk = (figure / chosen.peers for figure in figures)
            share = bulk / (4 * dimension)
            print(f"{dimension:>10}  {step:>4}  {control:>13.2f}  {frames:>6.2f}  {bulk:>12.0f}  {share:>6.3f}")
        print(f"{'':>10}  took {time.monotonic() - start:.1f} s", flush=True)
    odd = differing(found)
    if odd:
        print(f"NOT constant: the control bytes of steps {odd} depend on d")
        return 1
    print("constant: each step sends the same control bytes for all d")
    return 0


if __name__ == "__main__":
    sys.exit(main())
