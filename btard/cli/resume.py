"""`btard resume`: let a halted peer go on without others."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from btard.cli.options import add_option

if TYPE_CHECKING:
    from argparse import _SubParsersAction

_DESCRIPTION = """\
Tell a halted peer on this machine to go on without the peers that will not come back.

Peers halt where the times of the run file do not hold: more peers than late_brake fall silent at once, or no
majority can reach each other. Look first: are those machines up, is a link or a firewall broken? Once all peers
are back, the run goes on by itself, with all of them, and nobody needs this command.

If some will not come back: agree with the other operators whom to give up, all that are missed, and let each
say btard resume with the same names. It counts once all that are left are halted and a majority of all members
has said so (all that are left, where some had signed something else before the halt); then those are removed,
and the others do the step again. A name cannot be taken back: a peer that gives up others than the majority
does is left alone.
Talk to all operators first, on the telephone for instance: where the network is split and both sides give up
the other, members that cheat on both sides can have each side go on with a history of its own.
"""
_EPILOG = """\
example:
  btard status --out alice     (is it halted, and whom does it miss?)
  btard resume --out alice --without dave,erin
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
    add_option(parser, "--without", "whom to give up; say the same at each peer", metavar="NAME,NAME")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Ask the peer; raise StatusError where it has nothing to resume, or names are wrong."""
    from btard.node.resuming import ask
    from btard.node.words import Names

    status, given_up = ask(options.out, options.without.split(",") if options.without else ())
    names = Names(status.values["names"])
    print(
        f"{names.of(status.values['peer'])} goes on without {names.list(given_up)} "
        "as soon as a majority of the peers is told to"
    )
    waits = zip(status.values["awaited"], status.values["reasons"], strict=True)
    if missed := [(peer, reason) for peer, reason in waits if peer not in given_up]:
        whom = names.list([peer for peer, _ in missed], [reason for _, reason in missed])
        print(f"it also waits for {whom}: give up who stays away")
    return 0
