"""Every attack that needs no vectors, by real processes over ZeroMQ: two kinds at a time among six peers.

`python -m tests.node.real_attackers` prints a line for each attacker; `--attack late` runs some. The exit
status is 1 if an honest peer lost its place or did not finish with the others' model, or an attacker that has
to be out is not. CI runs a few (test_attackers.py).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from attrs import evolve, frozen

from btard.attacks.expected import OUTAGES, Case, When
from btard_transports.ports import free_endpoints
from tests.node.folder import digits_run, write
from tests.node.processes import Processes

PEERS = 6
CHEATS = (1, 4)
FIRST = 2
STEPS = 3  # some attackers make each last tens of seconds


@frozen
class Played:
    """Who went in a run of real processes, and what was wrong with it."""

    gone: dict[int, tuple[int, str, str]]  # peer: step, rule, kind
    problems: tuple[str, ...]


def play(folder: Path, cases: Sequence[Case]) -> Played:
    """Let one peer attack for each of at most two cases, and run to the end."""
    cheats = CHEATS[: len(cases)]
    attacks = {cheat: case.texts(cheats, FIRST)[cheat] for cheat, case in zip(cheats, cases, strict=True)}
    honest = [peer for peer in range(PEERS) if peer not in attacks]
    with free_endpoints(PEERS) as endpoints, Processes(folder) as processes:
        run = digits_run(endpoints, STEPS)
        file = write(
            folder, evolve(run, parameters=evolve(run.parameters, validators=0))
        )  # and so without closing steps
        for peer in range(PEERS):
            processes.start(peer, file, *(["--attack", attacks[peer]] if peer in attacks else []))
        statuses = dict(zip(honest, processes.until_over(*honest), strict=True))
        seen = {peer: processes.of(peer, "expelled") for peer in honest}
        digests = {entries[-1].get("digest") for peer in honest if (entries := processes.events[peer])}
    problems = [f"honest peer {peer} ended with status {status}" for peer, status in statuses.items() if status]
    if len(digests) != 1:
        problems.append("honest peers have different models")
    outs = [{event["peer"]: (event["rule"], event["kind"]) for event in seen[peer]} for peer in honest]
    if any(out.keys() != outs[0].keys() for out in outs):
        problems.append("honest peers disagree on who is out")
    gone = {event["peer"]: (event["step"], event["rule"], event["kind"]) for event in seen[honest[0]]}
    problems += [f"honest peer {peer} is out" for peer in gone if peer in honest]
    return Played(gone, (*problems, *_expected(dict(zip(cheats, cases, strict=True)), gone)))


def _expected(cases: dict[int, Case], gone: dict[int, tuple[int, str, str]]) -> Iterator[str]:
    for peer, case in cases.items():
        if peer not in gone:
            if case.when is not When.NEVER:
                yield f"peer {peer} ({case.attack}) kept its place"
            continue
        step, rule, kind = gone[peer]
        if rule not in case.rules or kind not in case.kind:
            yield f"peer {peer} ({case.attack}) is out for {rule} ({kind}), not {case.rules} ({case.kind})"
        if case.when is not When.NEVER and step - FIRST > (within := case.within(PEERS, 0, len(cases))):
            yield f"peer {peer} ({case.attack}) was out in step {step}, not within {within} steps after {FIRST}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all, two at a time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--attack", default="", help="only attacks that begin so")
    chosen = parser.parse_args(arguments)
    failed, left = 0, [case for case in OUTAGES if case.attack.startswith(chosen.attack)]
    while left:
        cases, left = left[: len(CHEATS)], left[len(CHEATS) :]
        start = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            played = play(Path(folder), cases)
        for cheat, case in zip(CHEATS, cases, strict=False):
            what = "{2} in step {0}, {1}".format(*played.gone[cheat]) if cheat in played.gone else "stayed"
            print(f"{case.attack:36} {what} ({time.monotonic() - start:.0f} s)", flush=True)
        for problem in played.problems:
            print(f"  {problem}", flush=True)
        failed += bool(played.problems)
    print(f"{failed} runs failed")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
