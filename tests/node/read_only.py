"""A folder on a disk that is read-only, for root as well."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

NOBODY: Final = 65534  # modes bind any user but root


@contextmanager
def open_to_all() -> Iterator[Path]:
    """A new folder that other users can get to, which those of pytest are not."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@contextmanager
def read_only(folder: Path, *, remounted: bool = False) -> Iterator[None]:
    """Let nothing in the folder be written or made; where it is remounted, not by way of open files either."""
    places = [folder, *folder.rglob("*")]
    modes = {place: place.stat().st_mode for place in places}
    root = os.geteuid() == 0
    for place in places:
        if root:
            os.chown(place, NOBODY, NOBODY)
        place.chmod(0o555 if place.is_dir() else 0o444)
    if remounted:
        _reopen(folder)
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        for place, mode in modes.items():
            place.chmod(mode)


def _reopen(folder: Path) -> None:
    """Put a descriptor that only reads in the place of each that this process has there."""
    for descriptor in map(int, os.listdir("/proc/self/fd")):
        try:
            name = os.readlink(f"/proc/self/fd/{descriptor}")
        except FileNotFoundError:
            continue  # that of the listing
        if Path(name).is_relative_to(folder) and Path(name).is_file():
            reading = os.open(name, os.O_RDONLY)
            os.dup2(reading, descriptor, inheritable=False)
            os.close(reading)
