"""What a round of moving vectors costs: a plain butterfly all-reduce over the ZeroMQ mesh, and gloo's.

python -m benchmarks.transport --help

On one machine everything is bound by the processor, so what counts is processor seconds, summed over all peers.
In the butterfly everybody gets a part from every other peer, adds them up and sends the sum to everybody;
every object is hashed by its owner and by whoever gets it. Nothing is signed, clipped or verified.
"""

import argparse
import multiprocessing
import os
import resource
import time
from collections.abc import Callable, Hashable, Sequence
from multiprocessing.connection import Connection

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import attrs
import numpy as np
import numpy.typing as npt

from btard.hashing import object_digest
from btard.keys import KeyPair
from btard_transports.interface import BulkSecurity, Endpoint
from btard_transports.ports import free_endpoints
from btard_transports.zmq_mesh import ZmqMesh

Vector = npt.NDArray[np.float32]
PART, SUM, END = b"P", b"S", b"E"


@attrs.frozen
class Cost:
    """Seconds per round, of the processor in all peers together and on the clock."""

    processor: float
    wall: float


@attrs.define
class Round:
    """What one peer has of one round."""

    part_sum: Vector
    parts: int = 0
    sums: int = 0


@attrs.define(eq=False)
class Butterfly:
    """One peer of a plain all-reduce; a handler."""

    me: int
    n: int
    rounds: int
    mesh: ZmqMesh
    vector: Vector
    round: int = -1
    ended: set[int] = attrs.field(factory=set)
    started: tuple[float, float] = (0.0, 0.0)
    cost: tuple[float, float] = (0.0, 0.0)
    _parts: list[Vector] = attrs.field(factory=list)
    _states: dict[int, Round] = attrs.field(factory=dict)
    _coming: dict[bytes, tuple[bytes, int]] = attrs.field(factory=dict)
    _offered: list[tuple[int, bytes, Vector]] = attrs.field(factory=list)

    def __attrs_post_init__(self) -> None:
        self._parts = np.array_split(self.vector, self.n)

    @property
    def _others(self) -> list[int]:
        return [peer for peer in range(self.n) if peer != self.me]

    def start(self) -> None:
        """Begin the first round, which only warms up."""
        self._next_round()

    def _next_round(self) -> None:
        self.round += 1
        if self.round == 1:
            self.started = _clocks()
        if self.round > self.rounds:
            self._finish()
            return
        for peer in self._others:
            # So that no two objects are alike.
            self._parts[peer][:1] = self.round * self.n + self.me
            self._offer(PART, self._parts[peer], [peer])
        for old in [entry for entry in self._offered if entry[0] < self.round - 1]:
            self.mesh.withdraw(old[1])
            self._offered.remove(old)

    def _offer(self, kind: bytes, data: Vector, to: list[int]) -> None:
        digest = object_digest(data.data.cast("B"))
        self._offered.append((self.round, digest, data))
        self.mesh.offer(digest, data.data, frozenset(to))
        for peer in to:
            self.mesh.send(peer, kind + self.round.to_bytes(4, "little") + digest)

    def _finish(self) -> None:
        processor, wall = _clocks()
        self.cost = (processor - self.started[0], wall - self.started[1])
        for peer in self._others:
            self.mesh.send(peer, END)

    def on_control(self, peer: int, frame: bytes) -> None:
        """Fetch what a peer announces."""
        if frame == END:
            self.ended.add(peer)
            return
        kind, number, digest = frame[:1], int.from_bytes(frame[1:5], "little"), frame[5:]
        self._coming[digest] = (kind, number)
        self.mesh.fetch(peer, digest, self._parts[self.me if kind == PART else peer].nbytes)

    def on_bulk(self, digest: bytes, data: memoryview | bytearray) -> None:
        """Add up parts, count sums."""
        kind, number = self._coming.pop(digest)
        if number not in self._states:
            self._states[number] = Round(self._parts[self.me].copy())
        state = self._states[number]
        if kind == PART:
            state.part_sum += np.frombuffer(data, np.float32)
            state.parts += 1
            if state.parts == self.n - 1:
                self._offer(SUM, state.part_sum, self._others)
        else:
            state.sums += 1
        if state.parts == state.sums == self.n - 1:
            del self._states[number]
            self._next_round()

    def on_timer(self, timer: Hashable) -> None:
        """There are no timers."""

    def on_done(self, token: Hashable, result: object) -> None:
        """There are no computations."""

    def on_link(self, peer: int, up: bool) -> None:
        """Frames wait until links are up."""


def _clocks() -> tuple[float, float]:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime, time.monotonic()


def _vector(peer: int, dimension: int) -> Vector:
    return np.random.default_rng(peer).standard_normal(dimension, dtype=np.float32)


def butterfly_peer(
    results: Connection,
    me: int,
    rounds: int,
    dimension: int,
    endpoints: dict[int, Endpoint],
    keys: KeyPair,
    bulk_security: BulkSecurity,
) -> None:
    """One process of the butterfly; sends its processor and wall seconds."""
    with ZmqMesh(me, endpoints, keys, bulk_security=bulk_security) as mesh:
        peer = Butterfly(me, len(endpoints), rounds, mesh, _vector(me, dimension))
        peer.start()
        mesh.run(peer, lambda: peer.round > rounds and len(peer.ended) == len(endpoints) - 1)
    results.send(peer.cost)


def gloo_peer(results: Connection, me: int, rounds: int, dimension: int, n: int, address: str) -> None:
    """One process of gloo's all_reduce; sends its processor and wall seconds."""
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=address, rank=me, world_size=n)
    vector = torch.from_numpy(_vector(me, dimension))
    dist.all_reduce(vector)
    processor, wall = _clocks()
    for _ in range(rounds):
        dist.all_reduce(vector)
    ended = _clocks()
    dist.destroy_process_group()
    results.send((ended[0] - processor, ended[1] - wall))


def measure(target: Callable[..., None], arguments: Sequence[tuple[object, ...]], rounds: int) -> Cost:
    """Run one process for each tuple of arguments."""
    context = multiprocessing.get_context("spawn")
    pipes = [context.Pipe(duplex=False) for _ in arguments]
    processes = [
        context.Process(target=target, args=(sender, *own), daemon=True)
        for (_, sender), own in zip(pipes, arguments, strict=True)
    ]
    for process in processes:
        process.start()
    costs = [receiver.recv() for receiver, _ in pipes]
    for process in processes:
        process.join()
    return Cost(sum(cost[0] for cost in costs) / rounds, max(cost[1] for cost in costs) / rounds)


def butterfly(n: int, dimension: int, rounds: int, bulk_security: BulkSecurity) -> Cost:
    """A plain all-reduce over the mesh."""
    keys = [KeyPair.generate() for _ in range(n)]
    with free_endpoints(n) as addresses:
        endpoints = {peer: Endpoint(*addresses[peer], keys[peer].curve_public) for peer in range(n)}
        arguments = [(peer, rounds, dimension, endpoints, keys[peer], bulk_security) for peer in range(n)]
        return measure(butterfly_peer, arguments, rounds)


def gloo(n: int, dimension: int, rounds: int) -> Cost:
    """torch.distributed's all_reduce over gloo."""
    with free_endpoints(1) as [(address, _)]:
        pass
    return measure(gloo_peer, [(peer, rounds, dimension, n, address) for peer in range(n)], rounds)


def main() -> None:
    """Print one line for each number of peers."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.transport",
        description="Processor seconds per round of a plain all-reduce, summed over all peers on this machine.",
    )
    parser.add_argument("--peers", type=int, nargs="+", default=[4, 8, 16], help="default: %(default)s")
    parser.add_argument("--dimension", type=int, default=11_000_000, help="floats; default: %(default)s")
    parser.add_argument("--rounds", type=int, default=5, help="after one to warm up; default: %(default)s")
    options = parser.parse_args()
    print(f"{options.dimension} float32, {options.rounds} rounds, {os.cpu_count()} cores; seconds per round")
    print(
        f"{'peers':>5} {'':>8} {'gloo':>8} {'digest':>8} {'curve':>8} {'digest/gloo':>12} {'curve/digest':>13}"
    )
    for n in options.peers:
        plain = gloo(n, options.dimension, options.rounds)
        digest = butterfly(n, options.dimension, options.rounds, "digest")
        curve = butterfly(n, options.dimension, options.rounds, "curve")
        for name, a, b, c in (
            ("cpu", plain.processor, digest.processor, curve.processor),
            ("wall", plain.wall, digest.wall, curve.wall),
        ):
            print(f"{n:5} {name:>8} {a:8.3f} {b:8.3f} {c:8.3f} {b / a:12.2f} {c / b:13.2f}", flush=True)


if __name__ == "__main__":
    main()
