"""`btard resume`: let a peer go on that the brake holds."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from btard.cli.options import add_option

if TYPE_CHECKING:
    from argparse import _SubParsersAction

_DESCRIPTION = """\
Tell a halted peer on this machine to go on without the peers that it misses.

Where more peers than late_brake (run file) fall silent at once, the network is the likelier culprit: so the
others halt in place of removing them, and say so. Look first: are those machines up, is a link or a firewall
broken? Once all peers are back, the run goes on by itself, with all of them, and nobody needs this command.

If they will not come back: agree with the other operators, and let each say btard resume. It counts once a
majority of the members has said it; then the silent ones are removed, and the others do the step again.
Talk to all operators first, on the telephone for instance: where the network is split and both sides give up
the other, members that cheat on both sides can have each side go on with a history of its own.
"""
_EPILOG = """\
example:
  btard status --out alice     (is it halted, and whom does it miss?)
  btard resume --out alice
"""


def add(subparsers: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "resume",
        help="let a halted peer go on without those that it misses",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_option(parser, "--out", "the folder that the peer writes to", Path, Path("btard-out"), metavar="DIR")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Ask the peer; raise StatusError where nothing holds it."""
    from btard.node.resuming import ask
    from btard.node.words import Names

    values = ask(options.out).values
    names = Names(values["names"])
    print(
        f"{names.of(values['peer'])} goes on without {names.list(values['held'])} "
        "as soon as a majority of the peers is told to"
    )
    return 0
