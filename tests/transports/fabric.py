"""Hosts of either transport behind one interface, and a handler that remembers everything."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Sequence
from contextlib import ExitStack
from typing import Protocol

import attrs
import numpy as np

from btard.hashing import object_digest
from btard.keys import KeyPair
from btard_transports.interface import BulkSecurity, Endpoint, Host
from btard_transports.memory import MemoryNetwork
from btard_transports.ports import free_endpoints
from btard_transports.zmq_mesh import ZmqMesh

# Far above what anything here takes, so that only a hang reaches it.
PATIENCE = 30.0


@attrs.define
class Recorder:
    """A handler that keeps what it is told."""

    frames: list[tuple[int, bytes]] = attrs.field(factory=list)
    objects: dict[bytes, memoryview | bytearray] = attrs.field(factory=dict)
    deliveries: int = 0
    timers: list[Hashable] = attrs.field(factory=list)
    done: list[tuple[Hashable, object]] = attrs.field(factory=list)
    up: set[int] = attrs.field(factory=set)
    on_frame: Callable[[int, bytes], None] | None = None

    def on_control(self, peer: int, frame: bytes) -> None:
        self.frames.append((peer, frame))
        if self.on_frame is not None:
            self.on_frame(peer, frame)

    def on_bulk(self, digest: bytes, data: memoryview | bytearray) -> None:
        self.objects[digest] = data
        self.deliveries += 1

    def on_timer(self, timer: Hashable) -> None:
        self.timers.append(timer)

    def on_done(self, token: Hashable, result: object) -> None:
        self.done.append((token, result))

    def on_link(self, peer: int, up: bool) -> None:
        if up:
            self.up.add(peer)
        else:
            self.up.discard(peer)


class Fabric(Protocol):
    """Some connected hosts; `until` lets them run until a condition holds, and fails if it never does."""

    recorders: list[Recorder]

    @property
    def hosts(self) -> Sequence[Host]: ...

    def until(self, condition: Callable[[], object]) -> None: ...

    def close(self) -> None: ...


class MemoryFabric:
    def __init__(self, n: int) -> None:
        self.network = MemoryNetwork(seed=1)
        self.recorders = [Recorder() for _ in range(n)]
        self.hosts = [self.network.attach(peer, handler) for peer, handler in enumerate(self.recorders)]

    def until(self, condition: Callable[[], object]) -> None:
        self.network.run(lambda: bool(condition()), PATIENCE)

    def close(self) -> None:
        for host in self.hosts:
            host.stop()


class ZmqFabric:
    """Meshes of one process, turned one after the other by the test's own thread."""

    def __init__(self, n: int, bulk_security: BulkSecurity = "curve", *, absent: Sequence[int] = ()) -> None:
        """Peers in `absent` have keys and addresses but no mesh: the test plays them itself."""
        self.keys = [KeyPair.generate() for _ in range(n)]
        self.recorders = [Recorder() for _ in range(n)]
        self.meshes: dict[int, ZmqMesh] = {}
        self._bulk_security: BulkSecurity = bulk_security
        self._closing = ExitStack()
        addresses = self._closing.enter_context(free_endpoints(n))
        self.endpoints = {
            peer: Endpoint(control, bulk, keys.curve_public)
            for peer, ((control, bulk), keys) in enumerate(zip(addresses, self.keys, strict=True))
        }
        for peer in range(n):
            if peer not in absent:
                self.start(peer)

    def start(self, peer: int) -> ZmqMesh:
        """Start an absent peer."""
        mesh = ZmqMesh(peer, self.endpoints, self.keys[peer], bulk_security=self._bulk_security, linger=0)
        self.meshes[peer] = self._closing.enter_context(mesh)
        return mesh

    @property
    def hosts(self) -> Sequence[ZmqMesh]:
        return list(self.meshes.values())

    def turn(self) -> None:
        for peer, mesh in self.meshes.items():
            mesh.step(self.recorders[peer], 0.002)

    def until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, f"still waiting: {self.recorders}"
            self.turn()

    def close(self) -> None:
        self._closing.close()


def blob(size: int, seed: int = 0) -> tuple[bytes, bytes]:
    """An object that does not repeat itself, and its digest."""
    data = (np.arange(size // 8 + 1, dtype="<u8") + seed * 1_000_003).tobytes()[:size]
    return object_digest(data), data
