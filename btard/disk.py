"""What a peer says where the disk refuses: the file or folder, what is wrong, and what to do, in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from btard.errors import BtardError

ROOM: Final = "make room on the disk, or make the folder writable"
ADVICE: Final = f"{ROOM}, and start this peer again"


def refused(what: str, error: Exception) -> str:
    """Return the line for what could not be done."""
    reason = " ".join(str(getattr(error, "strerror", None) or error).split())
    return f"{what}: {reason}; {ADVICE}"


def make_folder(folder: Path) -> None:
    """Make a peer's folder where there is none. Raises BtardError where that cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise BtardError(f"--out {folder} is no folder ({error.strerror}): choose another --out") from error
    except OSError as error:
        raise BtardError(refused(f"cannot make the folder {folder}", error)) from error
