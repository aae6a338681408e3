"""Why a link does not come up: said in words, with the address, within seconds."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import closing

import attrs
import pytest

from btard.keys import KeyPair
from btard_transports.attempts import Cause
from tests.transports.fabric import ZmqFabric

Maker = Callable[..., ZmqFabric]


def causes(fabric: ZmqFabric) -> Callable[[], set[str]]:
    """All that peer 0 has said about its link to peer 1 so far."""
    told: set[str] = set()

    def ask() -> set[str]:
        told.update(filter(None, [fabric.meshes[0].trouble(1)]))
        return told

    return ask


def until_told(fabric: ZmqFabric, address: str, cause: Cause) -> None:
    told = causes(fabric)
    fabric.until(lambda: told())
    assert told() == {f"{address}: {cause}"}


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with closing(socket.socket()) as one:
        one.bind(("127.0.0.1", 0))
        one.listen()
        yield one


@pytest.mark.parametrize("port", ["control", "bulk"])
def test_nobody_listens(zmq_fabric: Maker, port: str) -> None:
    fabric = zmq_fabric(2, absent=[0, 1])
    with socket.socket() as unused:  # bound, so that nobody else takes it, but not listening
        unused.bind(("127.0.0.1", 0))
        wrong = f"tcp://127.0.0.1:{unused.getsockname()[1]}"
        right = fabric.endpoints[1]
        fabric.start(1)
        fabric.endpoints[1] = attrs.evolve(right, **{port: wrong})
        fabric.start(0)
        until_told(fabric, wrong, Cause.NOBODY)


def test_a_link_that_is_up_has_no_trouble(zmq_fabric: Maker) -> None:
    fabric = zmq_fabric(2, absent=[1])
    told = causes(fabric)
    fabric.until(lambda: told())
    fabric.start(1)
    fabric.until(lambda: 1 in fabric.recorders[0].up and fabric.meshes[0].trouble(1) is None)
    assert fabric.meshes[0].trouble(7) is None  # nobody there


def test_a_name_that_nobody_has(zmq_fabric: Maker) -> None:
    fabric = zmq_fabric(2, absent=[0, 1])
    wrong = "tcp://no-such-host.invalid:7000"
    fabric.endpoints[1] = attrs.evolve(fabric.endpoints[1], control=wrong)
    fabric.start(0)
    until_told(fabric, wrong, Cause.NO_NAME)


@pytest.mark.refuses("NET-2")
def test_somebody_with_another_key(zmq_fabric: Maker) -> None:
    fabric = zmq_fabric(2, absent=[0])
    right = fabric.endpoints[1]
    fabric.endpoints[1] = attrs.evolve(right, curve_public=KeyPair.generate().curve_public)
    fabric.start(0)
    until_told(fabric, right.control, Cause.REFUSED)


@pytest.mark.refuses("NET-1")
def test_somebody_who_does_not_know_this_peer(zmq_fabric: Maker) -> None:
    fabric = zmq_fabric(2, absent=[0])
    fabric.meshes[1].set_members(frozenset({1}))
    fabric.start(0)
    told = causes(fabric)
    fabric.until(lambda: told())
    assert told() <= {f"{address}: {Cause.REFUSED}" for address in attrs.astuple(fabric.endpoints[1])[:2]}


def test_something_else_listens_there(zmq_fabric: Maker, listener: socket.socket) -> None:
    fabric = zmq_fabric(2, absent=[0, 1])
    address = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
    fabric.endpoints[1] = attrs.evolve(fabric.endpoints[1], control=address)
    fabric.start(0)
    told = causes(fabric)
    fabric.until(lambda: f"{address}: {Cause.REFUSED}" in told())
