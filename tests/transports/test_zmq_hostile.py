"""Junk on every socket: it is counted and discarded, and honest peers notice nothing."""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Callable

import pytest
import zmq
from structlog.testing import capture_logs

from btard_transports.interface import MAX_FRAME
from btard_transports.limits import CONTROL_DIAL
from btard_transports.offers import MAX_WAITING
from btard_transports.wire import CHUNK, WINDOW, Range, decode_get, encode_get, encode_header
from tests.transports.fabric import ZmqFabric, blob
from tests.transports.intruder import Intruder, raw_connection, shake_hands

Maker = Callable[..., ZmqFabric]


def honest_peers_work(fabric: ZmqFabric, a: int, b: int) -> None:
    """Frames and objects still go from a to b."""
    digest, data = blob(CHUNK + 1, seed=77)
    fabric.meshes[a].send(b, b"honest")
    fabric.meshes[a].offer(digest, data, None)
    fabric.meshes[b].fetch(a, digest, len(data))
    fabric.until(lambda: digest in fabric.recorders[b].objects and (a, b"honest") in fabric.recorders[b].frames)


@pytest.mark.refuses("NET-7", "NET-8")
def test_malformed_control_messages_of_a_member(zmq_fabric: Maker, intruder: Intruder) -> None:
    fabric = zmq_fabric(3, absent=[2])
    target = fabric.endpoints[0]
    member = intruder.dial(target.control, fabric.keys[2], target.curve_public)
    for junk in ([b"", b""], [b"a"] * 1000, [bytes(MAX_FRAME + 1)], [b"", b"as REQ sends it"]):
        member.send_multipart(junk)
    member.send(b"")
    fabric.until(lambda: fabric.meshes[0].counters.junk == 4 and bool(fabric.recorders[0].frames))
    assert fabric.recorders[0].frames == [(2, b"")]
    honest_peers_work(fabric, 1, 0)


@pytest.mark.refuses("NET-8")
def test_an_oversize_control_frame_ends_its_connection(zmq_fabric: Maker, intruder: Intruder) -> None:
    fabric = zmq_fabric(3, absent=[2])
    target = fabric.endpoints[0]
    member = intruder.dial(target.control, fabric.keys[2], target.curve_public)
    monitor = intruder.watch(member, zmq.EVENT_DISCONNECTED)
    member.send(bytes(2 * MAX_FRAME))
    fabric.until(lambda: bool(monitor.poll(0)))
    assert not fabric.recorders[0].frames
    honest_peers_work(fabric, 1, 0)


@pytest.mark.refuses("NET-7")
@pytest.mark.parametrize("bulk_security", ["curve", "digest"])
def test_malformed_requests(zmq_fabric: Maker, intruder: Intruder, bulk_security: str) -> None:
    fabric = zmq_fabric(3, bulk_security, absent=[2])
    target = fabric.endpoints[0]
    keys = (fabric.keys[2], target.curve_public) if bulk_security == "curve" else ()
    member = intruder.dial(target.bulk, *keys)
    digest, data = blob(2 * CHUNK + 10)
    fabric.meshes[0].offer(digest, data, None)
    good = encode_get(Range(digest, 0, len(data)))
    junk = [
        [b""],
        [good[:-1]],
        [good + b"x"],
        [good, good],
        [encode_get(Range(digest, 0, len(data) + 1))],
        [encode_get(Range(digest, 0, CHUNK + 1))],
        [encode_get(Range(digest, 1, CHUNK))],
        [encode_get(Range(digest, CHUNK, CHUNK))],
        [encode_get(Range(digest, CHUNK, 0))],
        [encode_get(Range(digest, 0, WINDOW + 1))],
        [encode_get(Range(digest, 2**64 - CHUNK, 2**64 - 1))],
        [encode_get(Range(digest, 3 * CHUNK, 4 * CHUNK))],
    ]
    for message in junk:
        member.send_multipart(message)
    fabric.until(lambda: fabric.meshes[0].counters.junk == len(junk))
    assert not member.poll(0)
    assert fabric.meshes[0].counters.bulk_bytes_sent == 0
    honest_peers_work(fabric, 0, 1)


@pytest.mark.refuses("NET-5")
def test_requests_for_what_is_not_offered_are_kept_up_to_a_limit(zmq_fabric: Maker, intruder: Intruder) -> None:
    fabric = zmq_fabric(3, absent=[2])
    target = fabric.endpoints[0]
    member = intruder.dial(target.bulk, fabric.keys[2], target.curve_public)
    objects = [blob(8, seed) for seed in range(MAX_WAITING + 3)]
    for digest, _ in objects:
        member.send(encode_get(Range(digest, 0, 8)))
    member.send(b"end")
    fabric.until(lambda: fabric.meshes[0].counters.junk == 1)
    for digest, data in objects:
        fabric.meshes[0].offer(digest, data, None)
    got: list[bytes] = []

    def collect() -> bool:
        while member.poll(0):
            got.append(member.recv_multipart()[1])
        return len(got) >= MAX_WAITING

    fabric.until(collect)
    honest_peers_work(fabric, 0, 1)
    assert collect()
    assert got == [data for _, data in objects[3:]]


@pytest.mark.refuses("NET-4", "NET-7")
@pytest.mark.parametrize("bulk_security", ["curve", "digest"])
def test_a_hostile_owner(zmq_fabric: Maker, intruder: Intruder, bulk_security: str) -> None:
    fabric = zmq_fabric(3, bulk_security, absent=[1])
    owner = intruder.listen(fabric.endpoints[1].bulk, fabric.keys[1] if bulk_security == "curve" else None)
    digest, data = blob(CHUNK + 10, 1)
    unknown, other = blob(100, 2)
    requester = fabric.meshes[0]
    requester.fetch(1, digest, len(data))
    fabric.until(lambda: bool(owner.poll(0)))
    connection, request = owner.recv_multipart()
    assert decode_get(request) == Range(digest, 0, len(data))
    first, second = (encode_header(digest, 0), data[:CHUNK]), (encode_header(digest, CHUNK), data[CHUNK:])
    junk = [
        (b"",),
        (b"", b""),
        (first[0][:-1], first[1]),
        (*first, b"more"),
        (encode_header(unknown, 0), other),
        second,
        (first[0], data[: CHUNK - 1]),
        (first[0], data[: CHUNK + 1]),
        (encode_header(digest, 2**64 - 1), b"x"),
        (first[0], b""),
    ]
    for message in junk:
        owner.send_multipart([connection, *message])
    fabric.until(lambda: requester.counters.junk == len(junk))
    owner.send_multipart([connection, *first])
    assert not fabric.recorders[0].objects
    owner.send_multipart([connection, *second])
    fabric.until(lambda: digest in fabric.recorders[0].objects)
    assert bytes(fabric.recorders[0].objects[digest]) == data
    honest_peers_work(fabric, 2, 0)


@pytest.mark.refuses("NET-7")
def test_an_object_that_is_wrong_in_one_byte_is_discarded(zmq_fabric: Maker, intruder: Intruder) -> None:
    fabric = zmq_fabric(2, absent=[1])
    owner = intruder.listen(fabric.endpoints[1].bulk, fabric.keys[1])
    digest, data = blob(1000)
    fabric.meshes[0].fetch(1, digest, len(data))
    fabric.until(lambda: bool(owner.poll(0)))
    connection, _ = owner.recv_multipart()
    owner.send_multipart([connection, encode_header(digest, 0), data[:-1] + bytes([data[-1] ^ 1])])
    fabric.until(lambda: fabric.meshes[0].counters.junk == 1)
    owner.send_multipart([connection, encode_header(digest, 0), data])
    fabric.until(lambda: fabric.meshes[0].counters.junk == 2)
    assert not fabric.recorders[0].objects


@pytest.mark.refuses("NET-8")
def test_an_oversize_chunk_ends_its_connection_and_the_request_is_made_again(
    zmq_fabric: Maker, intruder: Intruder
) -> None:
    fabric = zmq_fabric(2, absent=[1])
    owner = intruder.listen(fabric.endpoints[1].bulk, fabric.keys[1])
    digest, data = blob(1000)
    fabric.meshes[0].fetch(1, digest, len(data))
    fabric.until(lambda: bool(owner.poll(0)))
    connection, _ = owner.recv_multipart()
    owner.send_multipart([connection, encode_header(digest, 0), bytes(2 * CHUNK)])
    fabric.until(lambda: bool(owner.poll(0)))
    again, request = owner.recv_multipart()
    assert again != connection
    assert decode_get(request) == Range(digest, 0, len(data))
    owner.send_multipart([again, encode_header(digest, 0), data])
    fabric.until(lambda: digest in fabric.recorders[0].objects)


@pytest.mark.refuses("NET-8")
@pytest.mark.parametrize("port", ["control", "bulk"])
def test_bytes_that_are_not_even_zeromq(zmq_fabric: Maker, port: str) -> None:
    fabric = zmq_fabric(2)
    address = getattr(fabric.endpoints[0], port)
    for opening in (b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 200, bytes(200), os.urandom(200)):
        with raw_connection(address) as connection:
            connection.sendall(opening)
    honest_peers_work(fabric, 1, 0)
    honest_peers_work(fabric, 0, 1)


@pytest.mark.refuses("NET-8")
def test_a_connection_that_says_nothing_is_closed(zmq_fabric: Maker) -> None:
    fabric = zmq_fabric(1)
    with (
        raw_connection(fabric.endpoints[0].control) as control,
        raw_connection(fabric.endpoints[0].bulk) as bulk,
    ):
        for connection in (control, bulk):
            while connection.recv(100):
                pass  # until its end: a greeting, and nothing more


@pytest.mark.refuses("NET-8")
def test_frames_to_a_peer_that_is_not_there_wait_up_to_a_limit(zmq_fabric: Maker) -> None:
    fabric = zmq_fabric(2, absent=[1])
    waiting = CONTROL_DIAL.send_hwm
    for number in range(waiting + 10):
        fabric.meshes[0].send(1, b"%d" % number)
    assert fabric.meshes[0].counters.dropped == 10
    fabric.start(1)
    fabric.until(lambda: len(fabric.recorders[1].frames) == waiting)
    assert [frame for _, frame in fabric.recorders[1].frames] == [b"%d" % number for number in range(waiting)]


@pytest.mark.refuses("NET-7")
def test_however_much_junk_comes_the_log_stays_short(zmq_fabric: Maker, intruder: Intruder) -> None:
    fabric = zmq_fabric(2, absent=[1])
    target = fabric.endpoints[0]
    member = intruder.dial(target.bulk, fabric.keys[1], target.curve_public)
    with capture_logs() as logs:
        for _ in range(1000):
            member.send(b"junk")
        fabric.until(lambda: fabric.meshes[0].counters.junk == 1000)
    assert [line["count"] for line in logs] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]
    assert {(line["me"], line["peer"]) for line in logs} == {(0, 1)}


@pytest.mark.refuses("NET-8")
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells how much came on a connection")
def test_a_message_without_end_ends_its_connection(zmq_fabric: Maker) -> None:
    fabric = zmq_fabric(2, "digest")
    part = b"\x03" + struct.pack(">Q", 500) + bytes(500)  # 500 bytes, and more to come
    flood = memoryview(part * 1000)
    with raw_connection(fabric.endpoints[0].bulk) as connection:
        shake_hands(connection)
        connection.setblocking(False)
        sent = 0

        def closed() -> bool:
            nonlocal sent
            try:
                for _ in range(100):
                    sent += connection.send(flood[sent % len(flood) :])
            except BlockingIOError:
                return False
            except ConnectionError:
                return True
            return False

        fabric.until(closed)
    assert fabric.meshes[0].counters.junk == 1
    honest_peers_work(fabric, 1, 0)
