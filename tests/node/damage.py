"""A journal as a killed process leaves it, and what becomes of it when its files are changed or cut off.

`python -m tests.node.damage` tries every place of every file; the tests try some.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from attrs import frozen

from btard.node.journal import Journal, JournalError, Saved
from btard.node.outstanding import Outstanding
from btard.statemachine.events import Event, Held, Start
from btard.statemachine.handle import handle, initial
from btard.statemachine.messages import Enter, Envelope
from btard.wire import encode_payload, make_envelope, signed_content
from fuzz.world import configs
from tests.node.cluster import key

RUN, KEY = b"r" * 32, key(0).sign_public
FLIPS = (0x01, 0x80, 0xFF)


def envelope(step: int, entered: int = 1) -> Envelope:
    payload = encode_payload(0, Enter(step, entered))
    return make_envelope(0, payload, key(0).sign(signed_content(RUN, payload)))


def opened(path: Path) -> Journal:
    return Journal(path, RUN, KEY, "1")


def used(path: Path) -> Journal:
    """A journal with a snapshot, events and signatures; the last event is not durable."""
    journal = opened(path)
    config = configs(3)[0]
    state, effects = handle(config, initial(config), Start(bytes(32)))
    outstanding = Outstanding()
    outstanding.follow(Start(bytes(32)), effects, 0)
    journal.snapshot(state, outstanding)
    for step in range(3):
        journal.record(held(step))
        journal.sign(envelope(step))
        journal.flush()
    journal.record(held(3))
    return journal


def held(step: int) -> Event:
    return Held(bytes([step]) * 32, step)


@frozen
class Killed:
    """The files of a journal whose process was killed, and what was in it."""

    files: dict[str, bytes]
    saved: Saved

    @classmethod
    def of(cls, folder: Path) -> Killed:
        journal = used(folder / "j")
        files = {path.name: path.read_bytes() for path in folder.iterdir()}
        journal.close()
        again = opened(folder / "j")
        saved = again.saved
        again.close()
        assert saved is not None
        return cls(files, saved)

    def damaged(self, stride: int) -> Iterator[tuple[str, dict[str, bytes]]]:
        """Every file with a byte changed, or cut off, at every `stride`-th place."""
        for name, data in self.files.items():
            for place in range(0, len(data), stride):
                flip = FLIPS[place // stride % len(FLIPS)]
                changed = data[:place] + bytes([data[place] ^ flip]) + data[place + 1 :]
                yield f"{name}: byte {place} ^ {flip}", {**self.files, name: changed}
                yield f"{name}: cut at {place}", {**self.files, name: data[:place]}
            yield f"{name}: gone", {other: d for other, d in self.files.items() if other != name}

    def outcome(self, files: dict[str, bytes], folder: Path) -> str:
        """What opening the files leads to: the line of an error, or nothing where all is there. Else fails."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for name, data in files.items():
            (folder / name).write_bytes(data)
        try:
            journal = opened(folder / "j")
        except JournalError as error:
            return str(error)
        try:
            assert journal.saved == self.saved
            for step in range(3):
                assert journal.knows(envelope(step).message.slot, envelope(step).hash)  # type: ignore[union-attr]
        finally:
            journal.close()
        return ""


def main(stride: int) -> None:
    with tempfile.TemporaryDirectory() as home:
        (folder := Path(home) / "first").mkdir()
        killed = Killed.of(folder)
        outcomes = [killed.outcome(files, Path(home) / "again") for _, files in killed.damaged(stride)]
    noticed = sum(map(bool, outcomes))
    print(f"{len(outcomes)} kinds of damage: {noticed} noticed, {len(outcomes) - noticed} harmless")


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 1)
