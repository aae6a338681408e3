"""Who can connect over ZeroMQ, and who is taken for whom."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import zmq

from btard.keys import KeyPair
from tests.transports.fabric import ZmqFabric, blob
from tests.transports.intruder import GREETING, Intruder, raw_connection

Maker = Callable[..., ZmqFabric]


def settle(fabric: ZmqFabric) -> None:
    """All frames sent before have arrived, because later ones have."""
    for recorder in fabric.recorders:
        recorder.frames.clear()
    for sender, mesh in fabric.meshes.items():
        for receiver in fabric.meshes.keys() - {sender}:
            mesh.send(receiver, b"marker")
    marks = len(fabric.meshes) - 1
    fabric.until(
        lambda: all(
            [f for _, f in fabric.recorders[peer].frames].count(b"marker") == marks for peer in fabric.meshes
        )
    )


@pytest.mark.refuses("NET-1")
def test_strangers_are_refused_on_both_ports(zmq_fabric: Maker, intruder: Intruder) -> None:
    fabric = zmq_fabric(2)
    target = fabric.endpoints[0]
    for address in (target.control, target.bulk):
        fabric.meshes[0].counters.handshakes_refused = 0
        stranger = intruder.dial(address, KeyPair.generate(), target.curve_public)
        stranger.send(b"let me in")
        fabric.until(lambda: fabric.meshes[0].counters.handshakes_refused > 0)
    settle(fabric)
    assert {f for _, f in fabric.recorders[0].frames} == {b"marker"}
    assert fabric.meshes[0].counters.junk == 0


@pytest.mark.refuses("NET-1")
def test_connections_without_encryption_are_refused(zmq_fabric: Maker, intruder: Intruder) -> None:
    fabric = zmq_fabric(2)
    plain = intruder.dial(fabric.endpoints[0].control)
    plain.send(b"in the clear")
    with raw_connection(fabric.endpoints[0].control) as connection:
        connection.sendall(GREETING)
        while connection.recv(1000):
            pass  # until it is closed: its mechanism is another one
    settle(fabric)
    assert {f for _, f in fabric.recorders[0].frames} == {b"marker"}


@pytest.mark.refuses("NET-2")
def test_a_peer_that_does_not_have_its_secret_key_is_told_nothing(
    zmq_fabric: Maker, intruder: Intruder
) -> None:
    fabric = zmq_fabric(3, absent=[2])
    impostor = intruder.listen(fabric.endpoints[2].control, KeyPair.generate())
    monitor = intruder.watch(
        impostor, zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    )
    for mesh in fabric.meshes.values():
        mesh.send(2, b"secret")
    fabric.until(lambda: bool(monitor.poll(0)))
    settle(fabric)
    assert not impostor.poll(0)
    assert all(2 not in fabric.recorders[peer].up for peer in fabric.meshes)


@pytest.mark.shows("NET-3")
def test_the_routing_id_does_not_make_the_sender(zmq_fabric: Maker, intruder: Intruder) -> None:
    fabric = zmq_fabric(3, absent=[2])
    target = fabric.endpoints[0]
    name = fabric.endpoints[1].curve_public.encode()
    liar = intruder.dial(target.control, fabric.keys[2], target.curve_public, routing_id=name)
    liar.send(b"I am 1")
    fabric.until(lambda: bool(fabric.recorders[0].frames))
    assert fabric.recorders[0].frames == [(2, b"I am 1")]


@pytest.mark.refuses("NET-3")
def test_a_member_that_was_removed_cannot_connect_anew(zmq_fabric: Maker, intruder: Intruder) -> None:
    fabric = zmq_fabric(3, absent=[2])
    fabric.meshes[0].set_members(frozenset({0, 1}))
    target = fabric.endpoints[0]
    for address in (target.control, target.bulk):
        fabric.meshes[0].counters.handshakes_refused = 0
        removed = intruder.dial(address, fabric.keys[2], target.curve_public)
        removed.send(b"once more")
        fabric.until(lambda: fabric.meshes[0].counters.handshakes_refused > 0)
    settle(fabric)
    assert {f for _, f in fabric.recorders[0].frames} == {b"marker"}


@pytest.mark.refuses("NET-3")
def test_the_connections_of_a_removed_member_are_closed_when_it_speaks(
    zmq_fabric: Maker, intruder: Intruder
) -> None:
    fabric = zmq_fabric(3, absent=[2])
    digest, data = blob(100)
    fabric.meshes[0].offer(digest, data, None)
    target = fabric.endpoints[0]
    for address in (target.control, target.bulk):
        member = intruder.dial(address, fabric.keys[2], target.curve_public)
        monitor = intruder.watch(member, zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)
        fabric.until(partial(monitor.poll, 0))
        monitor.recv_multipart()
        fabric.meshes[0].set_members(frozenset({0, 1}))
        member.send(b"still here")
        fabric.until(partial(monitor.poll, 0))
        fabric.meshes[0].set_members(frozenset({0, 1, 2}))
    assert fabric.meshes[0].counters.refused == 2
    assert not fabric.recorders[0].frames


@pytest.mark.shows("NET-1")
def test_a_peer_that_was_refused_is_let_in_once_it_is_a_member(zmq_fabric: Maker) -> None:
    fabric = zmq_fabric(3, absent=[0, 2])
    fabric.meshes[1].set_members(frozenset({1}))
    fabric.start(0)
    fabric.meshes[0].send(1, b"early")
    fabric.until(lambda: fabric.meshes[1].counters.handshakes_refused >= 2)
    fabric.meshes[1].set_members(frozenset({0, 1}))
    fabric.until(lambda: bool(fabric.recorders[1].frames))
    assert fabric.recorders[1].frames == [(0, b"early")]


@pytest.mark.shows("NET-5")
def test_in_digest_mode_objects_are_public_and_control_is_not(zmq_fabric: Maker, intruder: Intruder) -> None:
    fabric = zmq_fabric(2, "digest")
    digest, data = blob(1000)
    fabric.meshes[0].offer(digest, data, frozenset({1}))
    stranger = intruder.dial(fabric.endpoints[0].bulk)
    stranger.send(digest + (0).to_bytes(8, "little") + (1000).to_bytes(8, "little"))
    fabric.until(lambda: bool(stranger.poll(0)))
    assert stranger.recv_multipart()[1] == data
    intruder.dial(fabric.endpoints[0].control).send(b"no")
    settle(fabric)
    assert {f for _, f in fabric.recorders[0].frames} == {b"marker"}
