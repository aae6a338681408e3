"""`btard keygen`: one peer's secret keys in a file, and their public half for the run file."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from btard.cli.options import add_option
from btard.errors import BtardError
from btard.genesis import PeerEntry
from btard.genesis_problems import NAME_RULE, is_address, is_name
from btard.keys import KeyPair
from btard.runfile import dump_peer

if TYPE_CHECKING:
    from argparse import _SubParsersAction

_PLACEHOLDER = "tcp://HOST:PORT"

_DESCRIPTION = """\
Make the keys of one peer.

The secret half goes to --out, readable by you alone: whoever has it can act as this peer. The public half is
printed as a piece of TOML; send it to whoever writes the run file.
"""
_EPILOG = """\
example:
  btard keygen --out alice.key --name alice \\
      --control tcp://alice.example.org:5000 --bulk tcp://alice.example.org:5001 > alice.toml
"""


def add(subparsers: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "keygen",
        help="make a peer's keys",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_option(parser, "--out", "file for the secret keys; must not exist", Path, required=True, metavar="FILE")
    add_option(parser, "--name", "the peer's name; else that of the file")
    where = "where the other peers reach this one"
    add_option(parser, "--control", f"{where} with messages", address, metavar="tcp://HOST:PORT")
    add_option(parser, "--bulk", f"{where} with vectors", address, metavar="tcp://HOST:PORT")
    parser.set_defaults(run=run)


def address(text: str) -> str:
    """Return an address that others can connect to; raise argparse.ArgumentTypeError for other text."""
    if not is_address(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not tcp://host:port with a host that others can reach")
    return text


def run(options: argparse.Namespace) -> int:
    """Write a key file and print the public half."""
    name = options.name or options.out.stem
    if not is_name(name):
        raise BtardError(f"the name {name!r} {NAME_RULE}; choose another with --name")
    keys = KeyPair.generate()
    keys.save(options.out)
    control, bulk = options.control or _PLACEHOLDER, options.bulk or _PLACEHOLDER
    print(dump_peer(PeerEntry(name, keys.sign_public, keys.curve_public, control, bulk)))
    print(f"{options.out} holds the secret keys of {name}: keep it to yourself", file=sys.stderr)
    if _PLACEHOLDER in (control, bulk):
        print(f"replace {_PLACEHOLDER} above by the addresses where others reach {name}", file=sys.stderr)
    return 0
