"""How `btard resume` reaches a running peer: a small file in its folder, which the peer takes away."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from btard.node.status_file import Status, StatusError, read_status

FILE: Final = "resume"


def ask(folder: Path) -> Status:
    """Ask the peer of a folder to go on (spec AGR-24), and return its status.

    Raises StatusError where there is no such peer, it does not run, or no brake holds it.
    """
    status = read_status(folder)
    if not status.running:
        raise StatusError(f"the peer of {folder} is not running: there is nothing to resume")
    if not status.values.get("held"):
        raise StatusError(f"no brake holds the peer of {folder}: btard status says what it does")
    (folder / FILE).touch()
    return status


def taken(folder: Path) -> bool:
    """Whether somebody asked; taken away, so that one word counts once."""
    try:
        (folder / FILE).unlink()
    except FileNotFoundError:
        return False
    return True
