"""Every attack, with one and with three of eight peers, over many seeds, in virtual time with real arithmetic.

`python -m tests.node.attackers --seeds 50` prints a line for each attack; with `--attack slander --first 7
--seeds 1` it runs some of it. CI runs a few (test_attackers.py). The exit status is 1 if an attacker was not
caught within the steps that `btard.attacks.expected` states, or an honest peer lost anything.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence

import torch
from attrs import frozen

from btard.attacks.expected import CASES, Case, When
from btard.errors import BtardError
from tests.node.cluster import Cluster

PEERS = 8
FIRST = 2  # the step in which attacks begin
HARMLESS_STEPS = 8  # of a run in which nobody is to be caught
FURTHER = 2  # steps after the last expulsion: reports on who is gone come in then, and the others go on


@frozen
class Played:
    """A run, and what was wrong with it."""

    cluster: Cluster
    problems: tuple[str, ...]
    steps: int | None  # that the last attacker took to be caught


def play(case: Case, attackers: int, seed: int) -> Played:
    """Let so many peers attack, until they are caught or should have been."""
    cheats = tuple(sorted(random.Random(f"cheats {seed}").sample(range(PEERS), attackers)))
    within = case.within(PEERS, 1, attackers)
    harmless = case.when is When.NEVER
    steps = HARMLESS_STEPS if harmless else FIRST + within
    cluster = Cluster(peers=PEERS, steps=steps, seed=seed, attacks=case.texts(cheats, FIRST))
    try:
        if harmless:
            cluster.run()
        else:
            cluster.run_until_expelled(attackers - case.spares * (attackers > case.least), FURTHER)
    except BtardError as error:
        return Played(cluster, (f"stalled: {error}",), None)
    last = max((event["step"] for event in cluster.expelled()), default=None)
    problems = (
        *_honest(cluster),
        *_caught(cluster, case, within),
        *_model(cluster, case),
        *_costs(cluster),
        *_ledgers(cluster),
    )
    return Played(cluster, problems, None if last is None else last - FIRST)


def _honest(cluster: Cluster) -> Iterator[str]:
    for peer in cluster.honest:
        if cluster.nodes[peer].failure:
            yield f"honest peer {peer} stopped: {cluster.nodes[peer].failure}"
        out = {event["peer"] for event in cluster.expelled(peer)}
        if out & {*cluster.honest}:
            yield f"honest peers are out: {sorted(out & {*cluster.honest})}"
        if out != {event["peer"] for event in cluster.expelled()}:
            yield f"honest peers {cluster.honest[0]} and {peer} disagree on who is out"


def _caught(cluster: Cluster, case: Case, within: int) -> Iterator[str]:
    out = {event["peer"] for event in cluster.expelled()}
    kept = len(cluster.attacks) - len(out)
    if case.when is not When.NEVER and kept > case.spares * (len(cluster.attacks) > case.least):
        yield f"{kept} of {len(cluster.attacks)} attackers were not caught within {within} steps"
    for event in cluster.expelled():
        if _gave_up(cluster, event["peer"], case):
            continue
        if event["rule"] not in case.rules:
            yield f"peer {event['peer']} is out for {event['rule']} ({event['reason']}), not {case.rules}"
        if event["kind"] not in case.kind:
            yield f"peer {event['peer']}: {event['kind']}, not {case.kind}"


def _gave_up(cluster: Cluster, attacker: int, case: Case) -> bool:
    """Whether an attacker was the first to hold the proof against itself, stopped on it, and so fell silent.

    Where attackers accuse each other, the others may be settling on one of them meanwhile.
    """
    failure = cluster.nodes[attacker].failure or ""
    return any(f"can prove a fault of this peer ({rule}:" in failure for rule in case.rules)


def _model(cluster: Cluster, case: Case) -> Iterator[str]:
    """Honest peers applied the same, and nothing wrong where that can be told within the step."""
    applied = [cluster.computers[peer].applied for peer in cluster.honest]
    if not all(
        torch.equal(a.aggregate, b.aggregate)
        for other in applied
        for a, b in zip(other, applied[0], strict=False)
    ):
        yield "honest peers applied different aggregates"
    model = cluster.tasks[cluster.honest[0]].parameters_vector()
    if case.provable and not torch.allclose(cluster.replay(), model, rtol=0, atol=1e-6):
        yield "something else was applied than the fixed points of the contributors' true gradients"


def _ledgers(cluster: Cluster) -> Iterator[str]:
    """The honest peers' ledgers are equal, and hold everybody who is out, with a proof (spec OPS-13)."""
    ledgers = [cluster.nodes[peer].ledger for peer in cluster.honest]
    if len({ledger.export() for ledger in ledgers}) > 1:
        yield "honest peers hold different ledgers"
    entries = ledgers[0].entries()
    if {(entry.peer, entry.kind) for entry in entries} != {(e["peer"], e["kind"]) for e in cluster.expelled()}:
        yield "the ledger holds others than those who are out"
    if any(entry.proof is None for entry in entries):
        yield "the ledger holds no proof"


def _costs(cluster: Cluster) -> Iterator[str]:
    """A false claim costs each judge one judgement, and its author its place.

    Where several accuse at once, the epoch may end before all are judged; who is left may accuse again in the
    next.
    """
    for peer in cluster.honest:
        false = Counter(
            (request.accuser, request.epoch)
            for request in cluster.computers[peer].judged
            if request.accuser in cluster.attacks and request.claim.accused in cluster.honest
        )
        if max(false.values(), default=0) > 1:
            yield f"peer {peer} judged several claims of one accuser in one epoch: {dict(false)}"
        out = {event["peer"] for event in cluster.expelled(peer)}
        if kept := {accuser for accuser, _ in false} - out:
            yield f"false accusers kept their place: {sorted(kept)}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=50, help="how many runs of each")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--attack", default="", help="only attacks that begin so")
    chosen = parser.parse_args(arguments)
    cases = [case for case in CASES if case.attack.startswith(chosen.attack)]
    if not cases:
        parser.error(f"no attack begins with {chosen.attack!r}; there are {', '.join(c.attack for c in CASES)}")
    failed = 0
    print(f"{'attack':46} {'of 8':>4} {'runs':>5} {'caught within':>13} {'stated':>6}  problems", flush=True)
    for case in cases:
        for attackers in case.sizes():
            start, took, problems = time.monotonic(), [], 0
            for seed in range(chosen.first, chosen.first + chosen.seeds):
                played = play(case, attackers, seed)
                took += [played.steps] if played.steps is not None else []
                problems += bool(played.problems)
                for problem in played.problems:
                    print(f"  seed {seed}: {problem}", flush=True)
            failed += problems
            stated = "-" if case.when is When.NEVER else str(case.within(PEERS, 1, attackers))
            print(
                f"{case.attack:46} {attackers:4} {chosen.seeds:5} {max(took, default=0):13} {stated:>6}  "
                f"{problems or 'none'} ({time.monotonic() - start:.0f} s)",
                flush=True,
            )
    print(f"{failed} runs failed")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
