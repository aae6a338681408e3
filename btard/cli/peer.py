"""`btard peer`: take part in a run."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from btard.attacks.names import AttackError, AttackSpec, catalogue, parse
from btard.cli.options import add_option, add_switch, threads

if TYPE_CHECKING:
    from argparse import _SubParsersAction

_DESCRIPTION = """\
Take part in a run: wait for the other peers of the run file, train with them, and ban whoever cheats.

It says whom it waits for, and stops with one line that says what to do where it cannot go on. Events go to
OUT/events.jsonl, what it signs to a journal there, the trained model to OUT/model.safetensors.
"""
_EPILOG = f"""\
examples:
  btard peer --run run.toml --key alice.key --out alice
  btard peer --run run.toml --key alice.key --out alice --bind-control tcp://0.0.0.0:7000 --bind-bulk tcp://0.0.0.0:7001
  btard peer --run run.toml --key mallory.key --out mallory --attack sign_flip@60     (to see it banned)

attacks (README.md says how each is caught):
{catalogue()}
"""


def add(subparsers: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "peer",
        help="take part in a run",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_option(parser, "--run", "the run file", Path, required=True, metavar="FILE", dest="run_file")
    add_option(parser, "--key", "this peer's key file, from keygen", Path, required=True, metavar="FILE")
    add_option(
        parser, "--out", "where to write events, journal and model", Path, Path("btard-out"), metavar="DIR"
    )
    add_option(parser, "--device", "where to compute: cpu, cuda or cuda:NUMBER", default="cpu")
    add_option(parser, "--threads", "processor threads to compute with", threads, 1)
    where = "tcp://HOST:PORT to listen on, where it is not the address in the run file:"
    add_option(parser, "--bind-control", f"{where} for messages", metavar="ADDRESS")
    add_option(parser, "--bind-bulk", f"{where} for vectors", metavar="ADDRESS")
    waiting = "seconds to wait for the others before the start"
    add_option(parser, "--wait", waiting, seconds, 600.0, metavar="SECONDS")
    add_option(
        parser,
        "--attack",
        "be Byzantine, to try the defence: NAME[@STEP][:KEY=VALUE,...] or FILE.py:Class[@STEP]",
        _attack,
        metavar="ATTACK",
    )
    add_switch(parser, "--json", "print events as JSON lines on standard output")
    add_switch(parser, "--verbose", "print every phase and step, too")
    parser.set_defaults(run=run)


def seconds(text: str) -> float:
    """Return a number of seconds; raise ArgumentTypeError for a negative one or none."""
    value = float(text)
    if not value >= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")
    return value


def _attack(text: str) -> AttackSpec:
    try:
        return parse(text)
    except AttackError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def run(options: argparse.Namespace) -> int:
    """Run the peer."""
    # Before torch is imported: peers that share cores spin each other to a standstill otherwise.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from btard.keys import KeyPair
    from btard.node.run import Options, run_peer
    from btard.runfile import load

    genesis = load(options.run_file)
    keys = KeyPair.load(options.key)
    node = Options(
        run_path=options.run_file,
        out=options.out,
        device=options.device,
        threads=options.threads,
        bind_control=options.bind_control,
        bind_bulk=options.bind_bulk,
        attack=options.attack,
        wait=options.wait,
        json=options.json,
        verbose=options.verbose,
    )
    run_peer(genesis, keys, node)
    return 0
