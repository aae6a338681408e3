"""What was signed is on disk before anybody else can see it, and nobody signs over it."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from btard.keys import verify
from btard.node.journal import MAGIC, Journal, JournalError, read_journal
from btard.statemachine.messages import Enter, Envelope
from btard.wire import decode_frame, encode_frame, encode_payload, make_envelope, signed_content
from tests.node.cluster import Cluster, key

RUN, KEY = b"r" * 32, key(0).sign_public


def envelope(step: int) -> Envelope:
    payload = encode_payload(0, Enter(step, 1))
    return make_envelope(0, payload, key(0).sign(signed_content(RUN, payload)))


def written(path: Path, records: int) -> list[bytes]:
    journal = Journal(path, RUN, KEY)
    for step in range(records):
        journal.append(envelope(step))
    journal.flush()
    journal.close()
    return [encode_frame(envelope(step)) for step in range(records)]


@pytest.mark.shows("MSG-7")
def test_what_is_written_is_read(tmp_path: Path) -> None:
    frames = written(tmp_path / "journal", 3)
    assert read_journal(tmp_path / "journal") == (RUN, KEY, frames)


@pytest.mark.shows("MSG-7")
def test_a_record_is_durable_before_its_message_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever peer 0 sends and has signed itself is in what fsync has been called on."""
    cluster = Cluster(peers=4, steps=2, attacks={2: "bad_aggregate@2"})
    path = tmp_path / "journal"
    durable = b""
    real_fsync = os.fsync

    def fsync(descriptor: int) -> None:
        nonlocal durable
        real_fsync(descriptor)
        if path.exists() and os.path.samestat(os.fstat(descriptor), path.stat()):
            durable = path.read_bytes()

    monkeypatch.setattr(os, "fsync", fsync)
    peer = cluster.nodes[0]
    peer.journal = Journal(path, cluster.genesis.run_id, key(0).sign_public)
    sent = set()

    def carried(sender: int, _receiver: int, frame: bytes) -> list[tuple[float, bytes]]:
        if sender == 0 and frame[1:].startswith(b"\x67message"):
            message = decode_frame(frame, 4)
            assert isinstance(message, Envelope)
            if message.author == 0:
                assert frame in durable
                sent.add(frame)
        return [(0.0, frame)]

    cluster.network.filter = carried
    with closing(peer.journal):
        cluster.run().check_agreement()
    assert [rule for _, _, rule in cluster.bans()] == ["VER-4"]  # so votes and EPOCH are among the messages
    run, public, frames = read_journal(path)
    assert (run, public) == (cluster.genesis.run_id, key(0).sign_public)
    assert sent == set(frames)
    assert len(frames) == len(sent)
    for frame in frames:
        message = decode_frame(frame, 4)
        assert isinstance(message, Envelope)
        assert verify(public, signed_content(run, message.payload), message.signature)


@pytest.mark.refuses("MSG-7")
def test_nobody_signs_over_an_earlier_start(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    written(path, 1)
    before = path.read_bytes()
    with pytest.raises(JournalError, match=r"earlier start.*new run.*--out"):
        Journal(path, RUN, KEY)
    assert path.read_bytes() == before
    journal = Journal(tmp_path / "open", RUN, KEY)  # in use by another process, or it was killed
    with pytest.raises(JournalError, match="earlier start"):
        Journal(tmp_path / "open", RUN, KEY)
    journal.close()


@pytest.mark.shows("MSG-7")
def test_a_start_that_signed_nothing_leaves_no_journal(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    written(path, 0)
    assert not path.exists()
    written(path, 1)
    assert path.exists()


@pytest.mark.refuses("MSG-7")
@pytest.mark.parametrize("flip", [0x01, 0x80, 0xFF])
def test_every_changed_byte_is_noticed(tmp_path: Path, flip: int) -> None:
    path = tmp_path / "journal"
    written(path, 2)
    data = path.read_bytes()
    for place in range(len(data)):
        path.write_bytes(data[:place] + bytes([data[place] ^ flip]) + data[place + 1 :])
        if len(MAGIC) <= place < len(MAGIC) + 64:
            assert read_journal(path)[:2] != (RUN, KEY)  # another run or key than the reader's own
        else:
            with pytest.raises(JournalError, match=r"is no journal|torn or changed at byte"):
                read_journal(path)


@pytest.mark.refuses("MSG-7")
def test_every_torn_end_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    frames = written(path, 2)
    data = path.read_bytes()
    size = (len(data) - len(MAGIC) - 64) // 2
    ends = {len(data) - 2 * size: frames[:0], len(data) - size: frames[:1]}  # a record less is no torn one
    for length in range(len(data)):
        path.write_bytes(data[:length])
        if length in ends:
            assert read_journal(path)[2] == ends[length]
        else:
            with pytest.raises(JournalError, match=r"is no journal|torn or changed at byte"):
                read_journal(path)


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """No file of this process may become larger: what a full disk is to a writer."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.refuses("MSG-7")
def test_on_a_full_disk_nothing_is_sent(tmp_path: Path) -> None:
    cluster = Cluster(peers=3, steps=1)
    path = tmp_path / "journal"
    cluster.nodes[0].journal = journal = Journal(path, cluster.genesis.run_id, key(0).sign_public)
    sent: list[bytes] = []

    def carried(sender: int, _receiver: int, frame: bytes) -> list[tuple[float, bytes]]:
        sent.extend([frame] if sender == 0 and frame[1:].startswith(b"\x67message") else [])
        return [(0.0, frame)]

    cluster.network.filter = carried
    room = path.stat().st_size + 1000
    with closing(journal), room_for(room), pytest.raises(JournalError, match="cannot write the journal"):
        cluster.run()
    with pytest.raises(JournalError, match="torn"):
        read_journal(path)
    data = path.read_bytes()
    assert sent
    assert all(frame in data for frame in sent)


@pytest.mark.refuses("MSG-7")
@pytest.mark.parametrize("size", [0, 10])
def test_a_journal_that_cannot_be_begun_is_an_error_of_one_line(tmp_path: Path, size: int) -> None:
    with room_for(size), pytest.raises(JournalError, match="cannot write the journal") as caught:
        Journal(tmp_path / "journal", RUN, KEY)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "journal").exists()
    with pytest.raises(JournalError, match=r"cannot write the journal.*No such file"):
        Journal(tmp_path / "missing" / "journal", RUN, KEY)
