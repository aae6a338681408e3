"""`btard why`: what one peer did, in words, with its evidence checked again."""

from __future__ import annotations

import argparse
import os
import textwrap
from typing import TYPE_CHECKING, Final

from btard.cli.ledger import add_folder

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from rich.console import Console

    from btard.ledger.audit import Finding
    from btard.ledger.book import Book
    from btard.ledger.entry import Entry

_DESCRIPTION = """\
Explain why a peer lost its place: what it did, who says so, and by which rule. Everything is checked again
from the ledger in the folder alone: every signature, the evidence, and a verdict is computed once more where
the task can be loaded.

Each check ends as one of
  holds     anybody who reads this ledger can see that it is so
  attested  it rests on what members signed alone: what came late cannot be checked afterwards
  FAILS     the ledger does not prove it; the exit status is 1
"""
_EPILOG = """\
examples:
  btard why dave alice       (dave's entry in the ledger in folder alice)
  btard why 3 alice          (the peer with index 3)
"""
_STYLES: Final = {"holds": "green", "attested": "yellow", "FAILS": "bold red"}
_MARGIN: Final = " " * 12  # left of what a check came to


def add(subparsers: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "why",
        help="explain why a peer is out, and check the evidence again",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("peer", metavar="PEER", help="its name in the run file, or its index")
    add_folder(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Explain; return 1 where the evidence does not hold. Raise LedgerError where there is no entry."""
    # Before torch is imported, as `btard peer` does: the same arithmetic as in the run.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from rich.console import Console

    from btard.ledger.audit import Mark, audit
    from btard.ledger.book import open_book
    from btard.ledger.errors import LedgerError
    from btard.ledger.recompute import recompute

    book = open_book(options.folder)
    peer = book.find(options.peer)
    entries = [entry for entry in book.entries if entry.peer == peer]
    if not entries:
        out = book.names.list(sorted({entry.peer for entry in book.entries}))
        rest = f"those who are out: {out}" if out else "nobody is out"
        name = book.names.of(peer)
        if book.lacks is not None:
            raise LedgerError(
                f"the ledger in {options.folder} does not say whether {name} is out: {book.lacks}"
            )
        raise LedgerError(f"{name} is neither removed nor banned, as far as {options.folder} goes; {rest}")
    console = Console(highlight=False, emoji=False, markup=False)
    outcomes = []
    for entry in entries:
        _tell(console, book, entry)
        for finding in audit(book, entry, recompute):
            _print(console, finding)
            outcomes.append(finding.mark)
        console.print()
    if book.lacks is not None:
        console.print(f"This ledger is NOT complete: {book.lacks}.", soft_wrap=True)
    failed = Mark.FAILS in outcomes
    console.print("The evidence does NOT hold." if failed else _conclusion(Mark.ATTESTED in outcomes))
    return 1 if failed else 0


def _conclusion(attested: bool) -> str:
    return (
        "The evidence holds; what is attested rests on the members' word."
        if attested
        else "The evidence holds."
    )


def _tell(console: Console, book: Book, entry: Entry) -> None:
    from btard.ledger.words import row, story

    told = row(book, entry)
    console.print(
        f"{told.name} (peer {told.peer}) was {told.verb} in step {told.step}, epoch {told.epoch}", style="bold"
    )
    console.print(f"Rule {told.rule}: {told.reason}.")
    for sentence in story(book, entry):
        console.print(sentence)
    if told.applied:
        console.print(f"The update of step {told.applied} was applied before and holds its contribution.")
    console.print()


def _print(console: Console, finding: Finding) -> None:
    from rich.text import Text

    lines = textwrap.wrap(finding.text, max(console.width - len(_MARGIN), 20), break_on_hyphens=False)
    for number, line in enumerate(lines):
        mark = f"  {finding.mark:{len(_MARGIN) - 2}}" if number == 0 else _MARGIN
        console.print(Text(mark, style=_STYLES[finding.mark]).append(line, style="default"), soft_wrap=True)
