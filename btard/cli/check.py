"""`btard check`: what is wrong with a run file or with this node's set-up, before anything starts."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from attrs import asdict

from btard.cli.options import add_option, threads
from btard.errors import BtardError
from btard.genesis import GenesisMismatchError, RunFile
from btard.keys import KeyFileError, KeyPair
from btard.odds import odds_of_a_look, steps_to_find
from btard.propose import BUSY_FACTOR, needed_ms
from btard.runfile import load
from btard.statemachine.election import closing_steps

if TYPE_CHECKING:
    from argparse import _SubParsersAction


_DESCRIPTION = """\
Say what is wrong with a run file, or with this machine as one of its peers, before anything starts.

With --key it also looks whether the key belongs to a peer of the run, whether that peer's addresses are free
here, and whether this machine is fast enough. The task is loaded and compared with the genesis. Where the run
file's numerics are "exact", those at the end must be the same at all peers: compare them, and the run id.
"""
_EPILOG = """\
example:
  btard check --run run.toml --key alice.key --device cuda:0
"""


LOOSE_RTOL: Final = 0.02
"""From here on check says in words what gradient_rtol lets pass."""


def add(subparsers: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "check",
        help="say what is wrong with a run file or a node's set-up",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_option(parser, "--run", "the run file", Path, required=True, metavar="FILE", dest="run_file")
    add_option(parser, "--key", "this peer's key file, from keygen", Path, metavar="FILE")
    where = "tcp://HOST:PORT to listen on, where it is not the address in the run file:"
    add_option(parser, "--bind-control", f"{where} for messages", metavar="ADDRESS")
    add_option(parser, "--bind-bulk", f"{where} for vectors", metavar="ADDRESS")
    add_option(parser, "--device", "where to compute: cpu, cuda or cuda:NUMBER", default="cpu")
    add_option(parser, "--threads", "processor threads to compute with", threads, 1)
    add_option(parser, "--out", "a folder on the disk that the peer will write to", Path, Path(), metavar="DIR")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print a report on standard output; raise BtardError with a line for each problem."""
    genesis = load(options.run_file)
    me, found = (None, []) if options.key is None else _own_place(genesis, options.key)
    _print_run(genesis)
    _print_roster(genesis, me)
    if me is not None:
        own = genesis.peers[me]
        addresses = {"control": options.bind_control or own.control, "bulk": options.bind_bulk or own.bulk}
        found += _unusable_addresses(addresses)
    out = options.out if me is not None else None
    found += _check_task(genesis, options.run_file.parent, options.device, options.threads, out)
    if found:
        raise BtardError("\n".join(found))
    whose = "nothing wrong with the run file" if me is None else f"{genesis.peers[me].name} is ready"
    print(f"\n{whose}")
    return 0


def _own_place(genesis: RunFile, key_file: Path) -> tuple[int | None, list[str]]:
    """Return this node's peer index, or what is wrong with its key file (spec GEN-5)."""
    try:
        keys = KeyPair.load(key_file)
        return genesis.index_of(keys.sign_public, keys.curve_public), []
    except KeyFileError as error:
        return None, [str(error)]
    except GenesisMismatchError as error:
        return None, [f"{key_file}: {error}"]


def _unusable_addresses(addresses: Mapping[str, str]) -> list[str]:
    """Listen for a moment on each address, as this node will when it runs; return what keeps it from that."""
    import zmq

    from btard_transports.interface import TransportError
    from btard_transports.sockets import bind

    found = []
    for name, address in addresses.items():
        try:
            with zmq.Context() as context, context.socket(zmq.ROUTER) as listener:
                bind(listener, address)
        except TransportError as error:
            found.append(f"{name}: {error}")
    return found


def _check_task(genesis: RunFile, folder: Path, device: str, threads: int, out: Path | None) -> list[str]:
    """Load the task, print its numerics class, and return how it differs from the genesis (spec GEN-6).

    With a folder ``out`` to write to, it also takes times.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from btard.training import numerics
    from btard.training.canary import canary
    from btard.training.loading import TaskError, make_task
    from btard.training.measure import measure_times

    try:
        numerics.set_deterministic(threads)
        task = make_task(genesis.task.name, genesis.task.options, genesis.seed, device, folder)
        found = canary(task, len(genesis.peers))
    except (TaskError, BtardError) as error:
        return [str(error)]
    rule = "equal at all peers" if genesis.numerics == "exact" else "they may differ between peers"
    print(f"\nnumerics: {genesis.numerics}; {rule}")
    for name, value in asdict(numerics.fingerprint(task)).items():
        print(f"  {name.replace('_', ' '):16} {value}")
    print(f"  {'canary':16} {found.digest.hex()[:16]}")
    equal = "on any hardware" if task.portable else "only where all of the above is equal, or the model drifts"
    print(f"  {'optimizer':16} {type(task.optimizer).__name__}: equal updates {equal}")
    problems = list(genesis.task_problems(task.dimension, task.model_digest(), task.data_digest()))
    problems += list(numerics.mixed_problems(task)) if genesis.numerics == "tolerant" else []
    return problems + ([] if out is None else _too_slow(genesis, measure_times(task, out)))


def _too_slow(genesis: RunFile, times: Mapping[str, float]) -> list[str]:
    """Print how long this machine takes against the run file's bounds; return the bounds that it breaks."""
    needed = needed_ms(times, genesis.numerics == "tolerant", genesis.parameters.validators)
    print("\ntimes on this machine, and the bounds that the others hold it to, in milliseconds")
    found = []
    for name, value in needed.items():
        bound = getattr(genesis.timing, name)
        note = "" if BUSY_FACTOR * value <= bound else "  too tight if the machine does anything else"
        print(f"  {name:16} {value:10.4g} of {bound}{note if value <= bound else '  too slow'}")
        if value > bound:
            found.append(
                f"{name}: this machine needs {value:.0f} ms, the run file allows {bound}: it would be removed "
                f"as late; have the run file written with --{name.replace('_', '-')}-ms of at least "
                f"{math.ceil(BUSY_FACTOR * value)}, or use a faster machine"
            )
    return found


def _print_run(genesis: RunFile) -> None:
    parameters, contributors = genesis.parameters, len(genesis.peers) - genesis.parameters.validators
    print(f"run       {genesis.name}")
    print(f"run id    {genesis.run_id.hex()}")
    closing = closing_steps(contributors, parameters.validators)
    steps = f"{parameters.steps} steps and {closing} closing steps"
    print(f"task      {genesis.task.name}, {parameters.dimension} parameters, {steps}")
    print(f"f_max     {parameters.f_max} of {len(genesis.peers)} peers may cheat or crash")
    print(f"odds      {_odds(genesis)}")
    print(f"harm      {_harm(genesis, contributors)}")


def _odds(genesis: RunFile) -> str:
    """Say how soon a wrong gradient is found."""
    odds = odds_of_a_look(len(genesis.peers), genesis.parameters.validators, genesis.parameters.f_max)
    if odds == 0:
        return "0: with validators = 0 nobody recomputes gradients, only CenteredClip bounds a wrong one"
    steps = steps_to_find(odds, 0.01)
    return f"{odds:.3g} a step that a cheat's gradient is recomputed by an honest peer; 99 % in {steps} steps"


def _harm(genesis: RunFile, contributors: int) -> str:
    """Say what a cheat can do without being seen (threshold of gradient validation)."""
    tau, rtol = genesis.parameters.tau, genesis.parameters.gradient_rtol
    if math.isinf(tau):
        return "any: tau is inf, so the aggregate is the plain mean and nothing is checked"
    push = f"{6 * contributors * rtol * tau:.3g} per part and step is what cheats can push without being seen"
    if rtol < LOOSE_RTOL:
        return push
    return (
        f"{push}; gradient_rtol is loose: nobody accuses a cheat whose gradient is off by less than "
        f"{200 * rtol:.2g} % of each part, in a direction of its choice, in every step"
    )


def _print_roster(genesis: RunFile, me: int | None) -> None:
    width = max(len(peer.name) for peer in genesis.peers)
    print(f"\n{len(genesis.peers)} peers; validators at each step: {genesis.parameters.validators}")
    for index, peer in enumerate(genesis.peers):
        mark = "  <- this peer" if index == me else ""
        print(f"  {index:4} {peer.name:{width}}  {peer.control}  {peer.bulk}{mark}")
