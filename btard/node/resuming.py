"""How `btard resume` reaches a running peer: a small file in its folder, which the peer takes away."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from btard.node.status_file import Status, StatusError, read_status
from btard.node.words import Names

FILE: Final = "resume"
_DRAFT: Final = "resume.partial"
_MAX_BYTES: Final = 65536


def ask(folder: Path, without: Sequence[str]) -> tuple[Status, list[int]]:
    """Ask the peer of a folder to go on without these.

    Returns its status and whom it gives up (spec AGR-26). Raises StatusError where there is no such peer, it is
    not running or not halted, or names are missing, wrong or too many.
    """
    status = read_status(folder)
    if not status.running:
        raise StatusError(f"the peer of {folder} is not running: there is nothing to resume")
    if not status.values.get("halted"):
        raise StatusError(f"the peer of {folder} is not halted: btard status says what it does")
    given_up = _given_up(status, without)
    (folder / _DRAFT).write_text(json.dumps([status.values["epoch"], given_up]))
    os.replace(folder / _DRAFT, folder / FILE)
    return status, given_up


def _given_up(status: Status, without: Sequence[str]) -> list[int]:
    values = status.values
    names = Names(values["names"])
    members = [peer for peer in values["roster"] if peer != values["peer"]]
    known = {names.of(peer): peer for peer in members}
    if wrong := [name for name in without if name not in known]:
        raise StatusError(f"{wrong[0]!r} is no other member; the other members are {names.list(members)}")
    if not without:
        missed = values["held"] or values["awaited"] or members[:1]
        raise StatusError(
            "it goes on by itself once all members are back; if some will not come back, say whom to give up, "
            f"for instance: --without {','.join(names.of(peer) for peer in missed)}"
        )
    before = dict(values["gave_up"]).get(values["peer"], [])  # who was named stays named
    chosen = sorted({known[name] for name in without}.union(before))
    if len(chosen) > values["spare"]:
        raise StatusError(
            f"without {names.list(chosen)} too few members would be left for the run to be safe: at most "
            f"{values['spare']} can be given up, those named before included"
        )
    return chosen


def taken(folder: Path, epoch: int) -> tuple[int, ...] | None:
    """Return whom to give up if somebody asked in this epoch; taken away, so that one word counts once."""
    path = folder / FILE
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_BYTES)
        path.unlink()
        asked, given_up = json.loads(text)
    except (OSError, ValueError, TypeError, RecursionError):
        return None  # nobody asked, or not with `btard resume`
    if asked != epoch or not isinstance(given_up, list):
        return None
    return tuple(given_up) if all(type(peer) is int for peer in given_up) else None
