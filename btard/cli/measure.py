"""`btard measure`: what this machine can do, written beside the peer's public keys for `btard init`."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from btard.cli.options import add_option, add_several, task_option, threads
from btard.errors import BtardError
from btard.measured import dump_peer_file, load_peer_file

if TYPE_CHECKING:
    from argparse import _SubParsersAction

_DESCRIPTION = """\
Measure this machine, and write what was found into the file that keygen printed.

It takes the times of gradients, updates, aggregation, sketches and hashes, and of writing the model to the disk
of --out (the current folder), where nothing of it stays; and it finds how far this machine's gradients are off
from those of another numerics class while a model is trained for a few steps. All peers measure the same task
with the same options; whoever writes the run file gets time-outs and a tolerance proposed from it. Let the
machine do what else it does during the run. Takes about a minute.
"""
_EPILOG = """\
example:
  btard measure --peer alice.toml --task digits --task-option batch_size=32
"""


def add(subparsers: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "measure",
        help="measure this machine for the run file",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_option(parser, "--peer", "file with what keygen printed", Path, required=True, metavar="FILE")
    add_option(parser, "--task", "digits, or FILE.py:CLASS from the current folder", default="digits")
    add_several(parser, "--task-option", "a setting of the task", task_option, metavar="KEY=VALUE")
    add_option(parser, "--device", "where to compute: cpu, cuda or cuda:NUMBER", default="cpu")
    add_option(parser, "--threads", "processor threads to compute with", threads, 1)
    add_option(parser, "--out", "a folder on the disk that the run will write to", Path, Path(), metavar="DIR")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Measure, and write the peer's file anew."""
    peers, _ = load_peer_file(options.peer)
    if len(peers) != 1:
        raise BtardError(f"{options.peer} holds {len(peers)} peers; give the file of this machine's peer alone")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from btard.training.measure import measure

    task_options = dict(options.task_option)
    found = measure(options.task, task_options, options.device, Path(), options.threads, options.out)
    options.peer.write_text(dump_peer_file(peers[0], found), encoding="utf-8")
    print(f"{found.device}, {found.instruction_set}, torch {found.torch}, {found.threads} threads")
    print(f"gradient {found.gradient_ms:g} ms, update {found.update_ms:g} ms, sketches {found.sketch_ms:g} ms")
    print(f"the model is on the disk of {options.out.absolute()} after {found.write_ms:g} ms")
    print(f"gradients of another numerics class are off by up to {found.relative:.1e} of a part's length")
    print(f"wrote {options.peer}: send it to whoever writes the run file")
    return 0
