from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.transports.fabric import Fabric, MemoryFabric, ZmqFabric
from tests.transports.intruder import Intruder

MAKERS: dict[str, Callable[[int], Fabric]] = {
    "memory": MemoryFabric,
    "curve": lambda n: ZmqFabric(n, "curve"),
    "digest": lambda n: ZmqFabric(n, "digest"),
}


@pytest.fixture(autouse=True)
def no_thread_stays_behind() -> Iterator[None]:
    """Every test ends with the threads with which it began."""
    before = set(threading.enumerate())
    yield
    # pyzmq has one thread of its own for zero-copy frames, for the whole process.
    left = {t for t in threading.enumerate() if type(t).__name__ != "GarbageCollectorThread"} - before
    assert not left


@pytest.fixture(params=list(MAKERS))
def make(request: pytest.FixtureRequest) -> Iterator[Callable[[int], Fabric]]:
    """A maker of fabrics of n peers, once for each transport."""
    made: list[Fabric] = []

    def maker(n: int) -> Fabric:
        made.append(MAKERS[request.param](n))
        return made[-1]

    yield maker
    for fabric in made:
        fabric.close()


@pytest.fixture(params=["memory", "curve"])
def make_authenticated(request: pytest.FixtureRequest) -> Iterator[Callable[[int], Fabric]]:
    """The same, only where an owner knows who asks for bulk."""
    fabric: list[Fabric] = []

    def maker(n: int) -> Fabric:
        fabric.append(MAKERS[request.param](n))
        return fabric[-1]

    yield maker
    for one in fabric:
        one.close()


@pytest.fixture
def intruder() -> Iterator[Intruder]:
    one = Intruder()
    yield one
    one.close()


@pytest.fixture
def zmq_fabric() -> Iterator[Callable[..., ZmqFabric]]:
    """A maker of ZeroMQ fabrics, with ZmqFabric's arguments."""
    with ExitStack() as closing:

        def maker(*arguments: Any, **options: Any) -> ZmqFabric:
            fabric = ZmqFabric(*arguments, **options)
            closing.callback(fabric.close)
            return fabric

        yield maker
