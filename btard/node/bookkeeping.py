"""Opens the ledger of a peer that starts, whatever became of the file (spec OPS-19, OPS-20)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path

from btard.disk import ADVICE
from btard.ledger.entry import Begins
from btard.ledger.errors import DamagedLedgerError, UnusableLedgerError
from btard.ledger.file import FILE, Ledger, is_missing
from btard.node.journal import Journal


def keep_ledger(
    folder: Path, run: bytes, genesis: str, base: str, journal: Journal, warn: Callable[[str], None]
) -> Ledger:
    """Return the ledger that a peer goes on with; tell ``warn`` in a line where that is not the one it had.

    Raises LedgerError where the folder holds that of another run, or where nothing was signed yet and the disk
    refuses: then the operator can still put it right.
    """
    begins = _stands(journal)
    if begins is not None and is_missing(folder):
        warn(
            f"the ledger {folder / FILE} is gone or empty, though this peer has taken part in the run: it goes "
            f"on with a new one, which says that it lacks what came before step {begins.step}; another peer's "
            "ledger holds that"
        )
    try:
        return _opened(folder, run, genesis, base, begins, warn)
    except UnusableLedgerError as error:
        if begins is None:
            raise UnusableLedgerError(f"{error}; {ADVICE}") from error
        warn(
            f"{error}; this peer goes on with a ledger in memory, which is lost when the peer ends: let "
            f"{folder / FILE} be read and written, and start the peer again"
        )
        return Ledger.create(None, run, genesis, base, begins)


def _opened(
    folder: Path, run: bytes, genesis: str, base: str, begins: Begins | None, warn: Callable[[str], None]
) -> Ledger:
    try:
        return Ledger.create(folder, run, genesis, base, begins)
    except DamagedLedgerError as error:
        aside = _move_aside(folder / FILE)
        warn(f"{error}; it is kept as {aside.name}, and this peer goes on with a new one")
        return Ledger.create(folder, run, genesis, base, begins)


def _stands(journal: Journal) -> Begins | None:
    """Return where the step began that a peer is in; None where it has signed nothing, and so lost nothing."""
    if not journal.signatures:
        return None
    saved = journal.saved
    return Begins(0, 0) if saved is None else Begins(saved.state.epoch, saved.state.at.number)


def _move_aside(path: Path) -> Path:
    """Give a damaged file a name of its own; return that. Raises UnusableLedgerError."""
    names = (path.with_name(f"{path.name}.damaged-{number}") for number in count(1))
    aside = next(name for name in names if not name.exists())
    try:
        path.rename(aside)
    except OSError as error:
        raise UnusableLedgerError(f"cannot move {path} aside: {error.strerror or error}") from error
    return aside
