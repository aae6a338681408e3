"""`btard status`: what a running peer is doing, and how one that has ended did."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from btard.cli.options import add_option, add_switch

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from btard.node.status_file import Status

_DESCRIPTION = """\
Show what a peer on this machine is doing: its step and phase, who is left, the pace, loss and accuracy, for
whose message it waits, which links are down, who was banned and why, which claims are being judged, and how
long each peer's messages take to come after the phase is entered (usually, and at most).

It reads a small file that the peer keeps in its folder, once a second, and does not disturb the peer.
"""
_EPILOG = """\
examples:
  btard status --out alice
  btard status --out alice --watch
  btard status --out alice --json
"""
INTERVAL: Final = 1.0  # seconds between two looks


def add(subparsers: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "status",
        help="show what a running peer is doing",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_option(parser, "--out", "the folder that the peer writes to", Path, Path("btard-out"), metavar="DIR")
    add_switch(parser, "--watch", "go on until the peer ends, or Ctrl-C")
    add_switch(parser, "--json", "print JSON, one line for each look")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Show a peer's status; raise StatusError where there is none."""
    if options.json:
        _print_json(options.out, options.watch)
    else:
        _print_readable(options.out, options.watch)
    return 0


def _print_json(folder: Path, again: bool) -> None:
    from btard.node.status_file import read_status

    while True:
        status = read_status(folder)
        print(json.dumps({**status.values, "running": status.running, "age": round(status.age, 1)}), flush=True)
        if not (again and status.running):
            return
        time.sleep(INTERVAL)


def _print_readable(folder: Path, again: bool) -> None:
    from rich.console import Console
    from rich.live import Live

    from btard.node.status_file import read_status

    console = Console(highlight=False, emoji=False, markup=False, soft_wrap=True)
    status = read_status(folder)
    if not (again and status.running and console.is_terminal):
        while True:
            console.print(_view(status))
            if not (again and status.running):
                return
            time.sleep(INTERVAL)
            console.print()
            status = read_status(folder)
    with Live(_view(status), console=console, auto_refresh=False) as live:
        while status.running:
            time.sleep(INTERVAL)
            status = read_status(folder)
            live.update(_view(status), refresh=True)


def _view(status: Status) -> Any:
    from rich.text import Text

    from btard.node.status_words import lines

    return Text("\n".join(lines(status)))
