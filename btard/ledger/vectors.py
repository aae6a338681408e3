"""The vectors beside a ledger, each in a file that its digest names (spec OPS-12, OPS-15)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from btard.hashing import object_digest
from btard.ledger.errors import LedgerError
from btard.statemachine.messages import Digest

OBJECTS: Final = "ledger-objects"


class Vectors:
    """The vectors of one ledger; those of a ledger without a folder are kept in memory."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._memory: dict[Digest, bytes] = {}

    def put(self, data: bytes | memoryview) -> Digest:
        """Keep a vector; return its digest. Any thread may do it. Raises LedgerError if the disk refuses."""
        name = object_digest(data)
        if self._folder is None:
            self._memory[name] = bytes(data)
            return name
        path = self._folder / OBJECTS / name.hex()
        draft = path.with_suffix(".partial")
        try:
            path.parent.mkdir(exist_ok=True)
            if not path.exists():
                with draft.open("wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                draft.replace(path)
        except OSError as error:
            raise LedgerError(f"cannot write {path}: {error.strerror or error}") from error
        return name

    def get(self, name: Digest) -> bytes:
        """Return a vector. Raises LedgerError where it is missing or was changed."""
        if self._folder is None:
            return self._memory[name]
        path = self._folder / OBJECTS / name.hex()
        try:
            data = path.read_bytes()
        except OSError as error:
            raise LedgerError(f"cannot read {path}: {error.strerror or error}") from error
        if object_digest(data) != name:
            raise LedgerError(f"{path} is damaged: it does not have the digest that is its name")
        return data
