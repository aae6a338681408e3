"""Large objects: bounded memory, and slow readers hold up nobody."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from btard.hashing import object_digest
from btard_transports.interface import new_buffer
from btard_transports.limits import BULK_LISTEN
from btard_transports.wire import CHUNK, WINDOW, Range, decode_get, encode_get, encode_header
from tests.transports.fabric import ZmqFabric, blob
from tests.transports.intruder import Intruder

Maker = Callable[..., ZmqFabric]


def large_object(size: int) -> tuple[bytes, memoryview]:
    data = np.random.default_rng(5).integers(0, 256, size, dtype=np.uint8).data
    return object_digest(data), data


def resident() -> int:
    """Bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.shows("NET-6")
@pytest.mark.parametrize("bulk_security", ["curve", "digest"])
def test_a_large_object_comes_whole(zmq_fabric: Maker, bulk_security: str) -> None:
    fabric = zmq_fabric(3, bulk_security)
    digest, data = large_object(50_000_000)
    fabric.meshes[0].offer(digest, data, None)
    for requester in (1, 2):
        fabric.meshes[requester].fetch(0, digest, len(data))
    fabric.until(lambda: all(digest in fabric.recorders[peer].objects for peer in (1, 2)))
    assert all(fabric.recorders[peer].objects[digest] == data for peer in (1, 2))
    assert fabric.meshes[0].counters.bulk_bytes_sent == 2 * len(data)


@pytest.mark.shows("NET-6")
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_transfer_holds_the_object_once_and_little_more(zmq_fabric: Maker) -> None:
    fabric = zmq_fabric(2)
    size = 150_000_000
    digest, data = large_object(size)
    new_buffer(WINDOW)[:] = bytes(WINDOW)
    before = resident()
    peak = before

    def finished() -> bool:
        nonlocal peak
        peak = max(peak, resident())
        return digest in fabric.recorders[1].objects

    fabric.meshes[0].offer(digest, data, None)
    fabric.meshes[1].fetch(0, digest, size)
    fabric.until(finished)
    assert size / 2 < peak - before < 1.5 * size


@pytest.mark.shows("NET-6")
def test_a_requester_asks_for_no_more_than_a_window_ahead(zmq_fabric: Maker, intruder: Intruder) -> None:
    fabric = zmq_fabric(2, absent=[1])
    owner = intruder.listen(fabric.endpoints[1].bulk, fabric.keys[1])
    digest, data = large_object(3 * WINDOW + 1)
    fabric.meshes[0].fetch(1, digest, len(data))
    asked = sent = 0

    def serve() -> bool:
        nonlocal asked, sent
        while owner.poll(0):
            connection, request = owner.recv_multipart()
            wanted = decode_get(request)
            assert wanted.start == asked
            asked = wanted.end
            assert asked - sent <= WINDOW
            for start in range(wanted.start, wanted.end, CHUNK):
                sent = min(start + CHUNK, wanted.end)
                owner.send_multipart([connection, encode_header(digest, start), data[start:sent]])
        return digest in fabric.recorders[0].objects

    fabric.until(serve)
    assert fabric.recorders[0].objects[digest] == data


@pytest.mark.shows("NET-6")
@pytest.mark.refuses("NET-6")
def test_a_reader_that_does_not_read_holds_up_nobody(zmq_fabric: Maker, intruder: Intruder) -> None:
    fabric = zmq_fabric(3, absent=[2])
    target = fabric.endpoints[0]
    digest, data = large_object(8 * WINDOW)
    fabric.meshes[0].offer(digest, data, None)
    reader = intruder.dial(target.bulk, fabric.keys[2], target.curve_public, receive_hwm=1)
    for start in range(0, len(data), WINDOW):
        reader.send(encode_get(Range(digest, start, start + WINDOW)))
    fabric.until(lambda: fabric.meshes[0].counters.bulk_bytes_sent > 0)
    fabric.meshes[1].fetch(0, digest, len(data))
    fabric.until(lambda: digest in fabric.recorders[1].objects)
    # Its share waits here, unread: what the pipe holds and what the kernels do.
    to_reader = fabric.meshes[0].counters.bulk_bytes_sent - len(data)
    assert to_reader < len(data)
    assert len(data) > BULK_LISTEN.send_hwm * CHUNK


def test_requests_to_a_peer_that_starts_later_are_answered(zmq_fabric: Maker) -> None:
    fabric = zmq_fabric(2, absent=[1])
    digest, data = blob(CHUNK + 1)
    fabric.meshes[0].fetch(1, digest, len(data))
    fabric.meshes[0].send(1, b"waiting")
    fabric.turn()
    fabric.start(1).offer(digest, data, None)
    fabric.until(lambda: digest in fabric.recorders[0].objects and bool(fabric.recorders[1].frames))
    assert fabric.recorders[1].frames == [(0, b"waiting")]


def test_a_transfer_goes_on_where_a_restart_broke_it(zmq_fabric: Maker) -> None:
    fabric = zmq_fabric(2)
    digest, data = large_object(6 * WINDOW)
    fabric.meshes[1].offer(digest, data, None)
    fabric.meshes[0].fetch(1, digest, len(data))
    fabric.until(lambda: fabric.meshes[0].counters.bulk_bytes_received >= WINDOW)
    fabric.meshes.pop(1).close()
    fabric.until(lambda: 1 not in fabric.recorders[0].up)
    assert digest not in fabric.recorders[0].objects
    fabric.start(1).offer(digest, data, None)
    fabric.until(lambda: digest in fabric.recorders[0].objects)
    assert fabric.recorders[0].objects[digest] == data
    assert fabric.meshes[1].counters.bulk_bytes_sent < len(data)
