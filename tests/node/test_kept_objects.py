"""What others served, on disk: whole or not at all, no longer than it is needed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from btard.hashing import digest, object_digest
from btard.node.journal import JournalError
from btard.node.kept_objects import KeptObjects
from tests.node.read_only import open_to_all, read_only

RUN = digest("test run of kept objects")
DATA = {object_digest(data): data for data in (b"", b"a", bytes(range(256)) * 20, b"last")}
HEADER = 40
ONE_LINE = (
    "^cannot keep what other peers served in .*: {}; make room on the disk, or make the folder writable, "
)


def keep(folder: Path, step: int = 1) -> Path:
    """Keep all of DATA in one file."""
    kept = KeptObjects(folder, RUN)
    for name, data in DATA.items():
        kept.keep(step, name, data)
    kept.write()
    return max(folder.iterdir())


def found(folder: Path) -> dict[bytes, bytearray]:
    return {name: data for _, name, data in KeptObjects(folder, RUN).read(DATA)}


@pytest.mark.shows("OPS-17")
def test_what_was_kept_is_there_in_the_next_process(tmp_path: Path) -> None:
    path = keep(tmp_path)
    assert found(tmp_path) == DATA
    assert path.stat().st_mode & 0o077 == 0
    name = max(DATA)
    kept = KeptObjects(tmp_path, RUN)
    assert list(kept.read({name})) == [(1, name, DATA[name])]
    kept.keep(1, name, DATA[name])
    kept.write()
    assert list(tmp_path.iterdir()) == [path]  # it is there already


@pytest.mark.refuses("OPS-17")
def test_what_is_not_needed_any_more_goes_when_the_journal_says_so(tmp_path: Path) -> None:
    for step in (1, 2, 10):
        keep(tmp_path, step)
    kept = KeptObjects(tmp_path, RUN)
    kept.discard(10)
    kept.write()
    assert len(list(tmp_path.iterdir())) == 3
    kept.tidy()
    kept.write()
    assert {step for step, _, _ in kept.read(DATA)} == {10}
    kept.keep(11, *max(DATA.items()))
    kept.remove()
    kept.write()  # which was under way when the run was over
    assert not list(tmp_path.iterdir())


@pytest.mark.refuses("OPS-18")
def test_a_file_that_is_cut_off_anywhere_gives_what_is_whole(tmp_path: Path) -> None:
    """The process after that begins a file of its own, and finds both."""
    path = keep(tmp_path)
    whole = path.read_bytes()
    ends = list(itertools.accumulate(HEADER + len(data) for data in DATA.values()))
    for cut in [*range(0, len(whole), 97), *(end + off for end in ends for off in (-1, 0, 1, HEADER - 1))]:
        path.write_bytes(whole[:cut])
        kept = [name for name, end in zip(DATA, ends, strict=True) if end <= cut]
        assert list(found(tmp_path)) == kept
    path.write_bytes(whole[:-1])
    again = keep(tmp_path)
    assert again != path
    assert found(tmp_path) == DATA


@pytest.mark.refuses("OPS-18")
def test_an_object_in_which_a_bit_was_changed_is_not_used(tmp_path: Path) -> None:
    path = keep(tmp_path)
    whole = path.read_bytes()
    for place in [*range(3 * HEADER), *range(3 * HEADER, len(whole), 211)]:
        changed = bytearray(whole)
        changed[place] ^= 1
        path.write_bytes(changed)
        there = found(tmp_path)
        assert len(there) < len(DATA)
        assert there.items() <= DATA.items()


@pytest.fixture
def shared() -> Iterator[Path]:
    with open_to_all() as folder:
        yield folder


@pytest.mark.refuses("OPS-17")
def test_a_read_only_folder_is_said_in_a_line(shared: Path) -> None:
    kept = KeptObjects(shared, RUN)
    kept.keep(1, object_digest(b"a"), b"a")
    with read_only(shared), pytest.raises(JournalError, match=ONE_LINE.format("Permission denied")):
        kept.write()


@pytest.mark.refuses("OPS-17")
@pytest.mark.parametrize("size", [1, 1 << 20])
def test_a_full_disk_is_said_in_a_line(tmp_path: Path, size: int) -> None:
    kept = KeptObjects(tmp_path, RUN)
    (tmp_path / f"journal-{RUN.hex()[:16]}.objects-1-1").symlink_to("/dev/full")
    kept.keep(1, object_digest(bytes(size)), bytes(size))
    with pytest.raises(JournalError, match=ONE_LINE.format("No space left on device")):
        kept.write()
