"""`btard init`: from the peers' public keys and a task to the run file that all of them share."""

from __future__ import annotations

import argparse
import math
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from btard.cli.choose import DELAYS_MS, TaskIdentity, choose, load_all
from btard.cli.options import add_option, add_several, add_switch, not_negative, one_of, positive, task_option
from btard.errors import BtardError
from btard.genesis import BULK_SECURITY, NUMERICS, RunFile, TaskSection
from btard.genesis_problems import problems
from btard.hashing import digest
from btard.propose import Proposal
from btard.runfile import RunFileError, dump
from btard.statemachine.parameters import Parameters, Timing

if TYPE_CHECKING:
    from argparse import _SubParsersAction

MOST_AWAY: Final = 7 * 24 * 3600
"""Seconds for which a run may wait for a peer; nobody means more."""

_DESCRIPTION = """\
Write a run file: the task, all parameters and the roster, in one TOML file that every peer must hold.

It is made from what the peers' `btard keygen` printed. The task is loaded once, on the CPU, for the identity
of its model and data. Tolerance and times are proposed from what the peers have measured (btard measure) and
from the way to those that listen already; without, they suit a local network and processors. Whatever you give
yourself holds. Edit the file before you send it out, if you like: its run id follows from its values.
"""
_EPILOG = """\
example:
  btard init --out run.toml --steps 500 --task-option batch_size=32 \\
      --peer alice.toml --peer bob.toml --peer carol.toml --peer dave.toml
"""


def add(subparsers: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "init",
        help="write a run file",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_option(parser, "--out", "the run file", Path, required=True, metavar="FILE")
    add_switch(parser, "--force", "overwrite it if it is there")
    add_several(parser, "--peer", "file with what keygen printed", Path, required=True, metavar="FILE")
    add_option(parser, "--name", "what people call the run", default="run")
    add_option(parser, "--seed", "any text, for a run that can be repeated; else random", metavar="TEXT")
    _add_task(parser.add_argument_group("task"))
    _add_parameters(parser.add_argument_group("parameters"))
    times = parser.add_argument_group("times, in milliseconds, from which all time-outs follow")
    for name, (default, meaning) in DELAYS_MS.items():
        note = f"{meaning}; proposed, or {default}"
        add_option(times, f"--{name.replace('_', '-')}-ms", note, int, metavar="MS")
    bandwidth = "of the slowest peer, for delta-bulk; 100 unless given"
    add_option(times, "--bandwidth-mbit", bandwidth, positive, metavar="MBIT/S")
    away = "a peer may be killed and be back so much later, in any phase; every time-out grows by it, or twice"
    add_option(times, "--restart-seconds", away, _absence, default=0.0, metavar="SECONDS")
    parser.set_defaults(run=run)


def _absence(text: str) -> float:
    seconds = not_negative(text)
    if seconds > MOST_AWAY:
        raise argparse.ArgumentTypeError(
            f"{text!r} is more than a week ({MOST_AWAY} seconds): let it be removed"
        )
    return seconds


def _add_task(group: argparse._ArgumentGroup) -> None:
    add_option(group, "--task", "digits, or FILE.py:CLASS from the run file's folder", default="digits")
    add_several(group, "--task-option", "a setting of the task", task_option, metavar="KEY=VALUE")
    add_option(group, "--steps", "training steps", int, default=200)
    add_option(group, "--evaluate-every", "steps between two evaluations", int, default=10, metavar="STEPS")


def _add_parameters(group: argparse._ArgumentGroup) -> None:
    add_option(group, "--tau", "CenteredClip's radius for a part; inf is the plain mean", float, default=0.3)
    add_option(group, "--validators", "peers that check another's gradient at each step", int, default=1)
    add_option(group, "--f-max", "cheats to bear; else the most that n - m > 2 f_max allows", int)
    clip = "length to which a peer scales a longer gradient down; inf leaves all as they are"
    add_option(group, "--gradient-clip", clip, float, default=math.inf)
    rtol = "tolerance for recomputed gradients; what it lets pass, a cheat may use"
    add_option(group, "--gradient-rtol", f"{rtol}; proposed unless given", float)
    exact = "exact: equal machines; tolerant: gradients within gradient-rtol; proposed unless given"
    add_option(group, "--numerics", exact, one_of(*NUMERICS))
    alarm = "check a part where most norms exceed this many times the median"
    add_option(group, "--alarm-factor", alarm, float, default=4.0)
    brake = "members that lateness alone may remove at once; else f_max"
    add_option(group, "--late-brake", f"{brake}; see btard resume", int)
    add_option(group, "--window", "steps for at most one such false alarm", int, default=20, metavar="STEPS")
    late = "remove a peer that a majority saw late in so many of the last --window steps; 0 for never"
    add_option(group, "--late-limit", late, int, default=0, metavar="STEPS")
    security = one_of(*BULK_SECURITY)
    add_option(group, "--bulk-security", "curve encrypts vectors, digest does not", security, default="curve")


def run(options: argparse.Namespace) -> int:
    """Write the run file."""
    if options.out.exists() and not options.force:
        raise BtardError(f"{options.out} is there already; choose another --out, or add --force")
    peers, measured = load_all(options.peer)
    seed = secrets.token_bytes(32) if options.seed is None else digest("run seed", options.seed.encode())
    task = _identify_task(options, seed)
    chosen = choose(options, peers, measured, task)
    if chosen["numerics"].value == "tolerant" and task.mixed_problems:
        raise BtardError("\n".join(task.mixed_problems))
    genesis = RunFile(
        name=options.name,
        seed=seed,
        task=task.section,
        parameters=_parameters(options, task.dimension, len(peers), float(chosen["gradient_rtol"].value)),
        timing=_timing(options, chosen),
        evaluate_every=options.evaluate_every,
        numerics=str(chosen["numerics"].value),
        bulk_security=options.bulk_security,
        peers=peers,
    )
    if found := list(problems(genesis)):
        raise RunFileError(options.out, found)
    options.out.write_text(dump(genesis), encoding="utf-8")
    _report(options.out, genesis, chosen)
    if options.restart_seconds:
        print(
            f"a peer that is killed has {options.restart_seconds:g} s to be back; one that stays silent is "
            f"removed so much later, after {genesis.timing.t_commit / 1000:.0f} s in COMMIT"
        )
    return 0


def _timing(options: argparse.Namespace, chosen: Mapping[str, Proposal]) -> Timing:
    tightest = Timing.derive(**{name: int(chosen[name].value) for name in DELAYS_MS})
    return tightest.with_absence(math.ceil(1000 * options.restart_seconds))


def _parameters(options: argparse.Namespace, dimension: int, peers: int, gradient_rtol: float) -> Parameters:
    most = max(0, (peers - options.validators - 1) // 2)
    f_max = most if options.f_max is None else options.f_max
    return Parameters(
        steps=options.steps,
        dimension=dimension,
        tau=options.tau,
        validators=options.validators,
        f_max=f_max,
        gradient_clip=options.gradient_clip,
        gradient_rtol=gradient_rtol,
        alarm_factor=options.alarm_factor,
        late_brake=f_max if options.late_brake is None else options.late_brake,
        window=options.window,
        late_limit=options.late_limit,
    )


def _identify_task(options: argparse.Namespace, seed: bytes) -> TaskIdentity:
    """Return what the run file and the proposals need to know of the task."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from btard.training.loading import TaskError, make_task
    from btard.training.measure import SEED
    from btard.training.numerics import mixed_problems

    settings = dict(options.task_option)
    try:
        task = make_task(options.task, settings, seed, "cpu", options.out.parent)
        measured = make_task(options.task, settings, SEED, "cpu", options.out.parent).model_digest()
    except TaskError as error:
        raise BtardError(str(error)) from error
    section = TaskSection(options.task, settings, task.model_digest(), task.data_digest())
    return TaskIdentity(section, task.dimension, task.batch_size, measured, tuple(mixed_problems(task)))


def _report(path: Path, genesis: RunFile, chosen: Mapping[str, Proposal]) -> None:
    parameters = genesis.parameters
    peers = ", ".join(peer.name for peer in genesis.peers[:20])
    more = f" and {len(genesis.peers) - 20} more" if len(genesis.peers) > 20 else ""
    print(f"wrote {path}: {parameters.steps} steps of {genesis.task.name}, {parameters.dimension} parameters")
    print(f"peers   {peers}{more}; f_max {parameters.f_max}")
    print(f"run id  {genesis.run_id.hex()}")
    print("values that depend on the peers' machines and links; each can be given, as --NAME:")
    for name, proposal in chosen.items():
        flag = name.replace("_", "-") + ("" if name in ("numerics", "gradient_rtol") else "-ms")
        print(f"  {flag:15} {proposal.value!s:9} {proposal.why}")
    print(f"Send {path} to every peer, and compare run ids. Each peer: btard check --run {path} --key ITS.key")
