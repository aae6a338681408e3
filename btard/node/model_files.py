"""The last two models on disk, for a peer that comes back (spec OPS-5)."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from btard.disk import refused
from btard.hashing import object_digest
from btard.node.journal import JournalError, sync_folder
from btard.node.writer import Writer
from btard.statemachine.messages import Digest


class ModelFiles:
    """Two files that are written in turn, in the background; what is in them is known by its digest."""

    def __init__(self, folder: Path, run: bytes, writer: Writer | None = None) -> None:
        self._paths = [folder / f"journal-{run.hex()[:16]}.model{turn}" for turn in (0, 1)]
        self._writer = writer or Writer("btard-model")

    def write(self, step: int, pieces: Iterable[bytes | memoryview]) -> None:
        """Begin to write the model before ``step``; ``pieces`` are read in another thread."""
        self._writer.begin(lambda: self._write(self._paths[step % 2], pieces))

    def _write(self, path: Path, pieces: Iterable[bytes | memoryview]) -> None:
        draft = path.with_name(path.name + "-new")
        try:
            with draft.open("wb") as file:
                file.writelines(pieces)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
            sync_folder(path.parent)
        except OSError as error:
            with contextlib.suppress(OSError):
                draft.unlink()  # half a model, on a disk that may be full
            raise JournalError(refused(f"cannot write the model to {path}", error)) from error

    def wait(self) -> None:
        """Wait until everything is durable. Raises JournalError where the disk refused."""
        self._writer.wait()

    def read(self, digest: Digest) -> bytes | None:
        """Return the model with this digest, None where no file holds it. Raises JournalError."""
        for path in self._paths:
            try:
                data = path.read_bytes() if path.exists() else b""
            except OSError as error:
                raise JournalError(f"cannot read {path}: {error.strerror or error}") from error
            if object_digest(data) == digest:
                return data
        return None

    def remove(self) -> None:
        """Remove the files: nothing was signed, or the run is over."""
        self.close()
        for path in self._paths:
            path.unlink(missing_ok=True)

    def close(self) -> None:
        """Wait for what is being written."""
        self._writer.close()
