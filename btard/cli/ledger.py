"""`btard ledger`: who was removed or banned, when, and by which rule."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from btard.cli.options import add_switch

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from rich.table import Table

    from btard.ledger.book import Book
    from btard.ledger.words import Row

_DESCRIPTION = """\
List every peer that lost its place in a run: when, whether it was banned or only removed, by which rule of
spec/, and what that rests on. A ban is for good and proved; a removal is what silence costs.

It reads the ledger that a peer keeps in its folder, also while the peer runs. All honest peers' ledgers hold
the same; one that was lost or damaged says from where on it is complete. btard why explains one entry and
checks its evidence again.
"""
_EPILOG = """\
examples:
  btard ledger alice
  btard ledger alice --json
"""


def add(subparsers: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "ledger",
        help="list who was removed or banned, and why",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_folder(parser)
    add_switch(
        parser,
        "--json",
        "print JSON, one line for each peer that is out; before them, one that says what is lacking",
    )
    parser.set_defaults(run=run)


def add_folder(parser: argparse.ArgumentParser) -> None:
    """Add the argument that names a peer's folder."""
    folder = "the folder that a peer writes to: what btard peer --out was given; default btard-out"
    parser.add_argument(
        "folder", type=Path, nargs="?", default=Path("btard-out"), metavar="RUN_DIR", help=folder
    )


def run(options: argparse.Namespace) -> int:
    """Print the ledger; raise LedgerError where there is none or it is damaged."""
    from btard.ledger.book import open_book
    from btard.ledger.words import row

    book = open_book(options.folder)
    rows = [row(book, entry) for entry in book.entries]
    if options.json:
        if (begins := book.ledger.begins()) is not None:
            print(json.dumps({"complete_from": {"epoch": begins.epoch, "step": begins.step}}))
        for entry in rows:
            print(json.dumps(entry.plain()))
    else:
        _print_readable(book, rows, options.folder)
    return 0


def _print_readable(book: Book, rows: list[Row], folder: Path) -> None:
    from rich.console import Console

    console = Console(highlight=False, emoji=False, markup=False)
    run, members = f"run {book.genesis.name} ({book.genesis.run_id.hex()[:8]})", book.rosters[-1]
    if book.lacks is not None:
        console.print(f"this ledger is NOT complete: {book.lacks}", soft_wrap=True)
    if not rows:
        nobody = f"all {len(members)} peers are members, nobody is out"
        console.print(f"{run}: {nobody if book.lacks is None else 'it is not known here that anybody is out'}")
        return
    console.print(f"{run}: {len({row.peer for row in rows})} of {book.config.peers} peers are out")
    with console.capture() as shown:
        console.print(_table(rows))
    print("\n".join(line.rstrip() for line in shown.get().splitlines()))
    for entry in rows:
        if entry.applied:
            console.print(f"the update of step {entry.applied} holds the wrong contribution of {entry.name}")
    console.print(f"members now: {book.names.list(members)}")
    hint = f"to have one explained and its evidence checked: btard why {rows[0].name} {folder}"
    console.print(hint, soft_wrap=True)


def _table(rows: list[Row]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("step", justify="right", no_wrap=True)
    table.add_column("peer", overflow="fold")
    table.add_column("is", no_wrap=True)
    table.add_column("rule", no_wrap=True)
    table.add_column("why", overflow="fold")
    table.add_column("rests on", overflow="fold")
    for entry in rows:
        table.add_row(str(entry.step), entry.name, entry.verb, entry.rule, entry.reason, entry.by)
    return table
