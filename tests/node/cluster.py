"""Real peers of one run in one process: real backends, real signatures, no journals, in virtual time.

Everything follows from the run's seed, the entropy that peers draw included, so a failure can be repeated.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import torch
from attrs import define, evolve, field, frozen
from zmq.utils import z85

from btard.attacks.names import AttackSpec, parse
from btard.genesis import PeerEntry, RunFile, TaskSection
from btard.genesis_problems import problems
from btard.hashing import digest
from btard.keys import KeyPair
from btard.ledger.file import Ledger
from btard.node.peer import Peer
from btard.node.run import Options, make_peer
from btard.node.store import ObjectStore
from btard.robust.centered_clip import centered_clip
from btard.robust.partition import bounds
from btard.runfile import dump
from btard.statemachine import compute as cp
from btard.statemachine.checks import work_of
from btard.statemachine.parameters import Parameters, Timing
from btard.statemachine.state import Record
from btard.training.backend import Backend
from btard.training.task import Task
from btard_transports.memory import MemoryNetwork
from tests.training.toy_task import Toy

TIMES = ("c_commit", "c_aggregate", "c_reveal", "c_validate", "c_accuse", "c_judge", "c_publish")
TIMING = Timing.derive(delta=100, delta_bulk=200, **dict.fromkeys(TIMES, 100))
PATIENCE = 3600.0  # seconds of virtual time

MakeTask = Callable[[], Task]


def key(number: int) -> KeyPair:
    """The key pair of peer `number`, the same in every test."""
    name = number.to_bytes(8, "little")
    return KeyPair(digest("test sign", name), z85.encode(digest("test curve", name)))


def run_file(
    task: Task, peers: int, steps: int, seed: int = 0, name: str = "toy", **parameters: Any
) -> RunFile:
    """The genesis of a small run of `task`; `parameters` are those that shall not have their defaults."""
    validators = parameters.get("validators", 1)
    values = Parameters(
        **{
            "steps": steps,
            "dimension": task.dimension,
            "tau": 0.3,
            "validators": validators,
            "f_max": (peers - validators - 1) // 2,
            "gradient_clip": math.inf,
            "gradient_rtol": 1e-6,
            "alarm_factor": 4.0,
            "late_brake": (peers - validators - 1) // 2,
            "window": 20,
            **parameters,
        }
    )
    run = RunFile(
        name="test",
        seed=digest("test run", seed.to_bytes(8, "little")),
        task=TaskSection(name, {}, task.model_digest(), task.data_digest()),
        parameters=values,
        timing=TIMING,
        evaluate_every=5,
        numerics="exact",
        bulk_security="curve",
        peers=tuple(
            PeerEntry(f"p{i}", pair.sign_public, pair.curve_public, f"tcp://h{i}:1", f"tcp://h{i}:2")
            for i, pair in enumerate(map(key, range(peers)))
        ),
    )
    assert not list(problems(run))
    return run


class Log:
    """Every event that a peer reports."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def __call__(self, event: str, **fields: Any) -> None:
        self.events.append({"event": event, **fields})

    def of(self, event: str) -> list[dict[str, Any]]:
        return [entry for entry in self.events if entry["event"] == event]


@frozen
class Applied:
    """A step that a peer applied: what was certified, and the aggregate, shape (dimension,)."""

    record: Record
    aggregate: torch.Tensor


@define(eq=False)
class Computer:
    """A peer's backend, with seeded entropy; notes what is applied, and what is judged."""

    backend: Backend
    entropy: random.Random
    peer: Peer = field(init=False)
    applied: list[Applied] = field(factory=list)
    judged: list[cp.Judge] = field(factory=list)

    @property
    def store(self) -> ObjectStore:
        return self.backend.store

    @property
    def model_size(self) -> int:
        return int(self.backend.model_size)

    def compute(self, request: cp.Request) -> cp.Result:
        if isinstance(request, cp.Apply):
            record = self.peer.state.last
            assert record is not None
            assert record.aggregates == request.aggregates
            pieces = [self.backend.part(name) for name in request.aggregates]
            self.applied.append(Applied(record, torch.cat(pieces)))
        if isinstance(request, cp.Judge):
            self.judged.append(request)
        result = self.backend.compute(request)
        if isinstance(result, cp.Prepared):
            result = evolve(result, entropy=self.entropy.randbytes(128))
        return result

    def model_before(self, step: int) -> memoryview | None:
        return self.backend.model_before(step)

    def progress(self, step: int) -> dict[str, float]:
        return self.backend.progress(step)

    def model(self) -> Iterable[bytes | memoryview]:
        return self.backend.model()

    def recall(self, step: int, data: bytes) -> bytes:
        return self.backend.recall(step, data)


@define(eq=False)
class Cluster:
    """`peers` peers of one run; `attacks` says who cheats, and how."""

    make_task: MakeTask = Toy
    peers: int = 5
    steps: int = 6
    seed: int = 0
    attacks: Mapping[int, str] = field(factory=dict)
    parameters: Mapping[str, Any] = field(factory=dict)
    latency: tuple[float, float] = (0.001, 0.01)  # seconds
    compute_time: float = 0.001
    folder: Path | None = None  # where each peer's ledger is to lie, in a folder of its own
    task_name: str = "toy"
    task_base: Path = Path()
    genesis: RunFile = field(init=False)
    network: MemoryNetwork = field(init=False)
    tasks: list[Task] = field(factory=list)
    logs: list[Log] = field(factory=list)
    nodes: list[Peer] = field(factory=list)
    computers: list[Computer] = field(factory=list)
    entropies: list[random.Random] = field(factory=list)  # of all processes, in the order of their starts

    def __attrs_post_init__(self) -> None:
        torch.set_num_threads(1)
        task, named = self.make_task(), self.task_name
        self.genesis = run_file(task, self.peers, self.steps, self.seed, named, **self.parameters)
        self.network = MemoryNetwork(self.seed, self.latency, compute_time=self.compute_time)
        for me in range(self.peers):
            self._add(me)

    def _add(self, me: int) -> None:
        task, log, peer, computer = self.made(me)
        self.tasks.append(task)
        self.logs.append(log)
        self.nodes.append(peer)
        self.computers.append(computer)

    def made(self, me: int) -> tuple[Task, Log, Peer, Computer]:
        task, log, attack = self.make_task(), Log(), self.attacks.get(me)
        folder = self.folder and self.folder / f"p{me}"
        if folder is not None:
            folder.mkdir(exist_ok=True)
        ledger = Ledger.create(folder, self.genesis.run_id, dump(self.genesis), str(self.task_base))
        options = Options(Path("run.toml"), Path("out"), attack=spec(attack) if attack else None)
        peer = make_peer(self.genesis, me, key(me), task, None, None, ledger, log, options)
        entropy = random.Random(f"{self.seed} {me} {len(self.entropies)}")
        self.entropies.append(entropy)
        computer = Computer(cast(Backend, peer.backend), entropy)
        computer.peer, peer.backend = peer, cast(Backend, computer)
        return task, log, peer, computer

    @cached_property
    def honest(self) -> list[int]:
        return [peer for peer in range(self.peers) if peer not in self.attacks]

    def begin(self, absent: Iterable[int] = ()) -> None:
        for me in sorted(set(range(self.peers)) - set(absent)):
            self.join(me)

    def join(self, me: int) -> None:
        """Connect a peer, and let it say hello."""
        peer = self.nodes[me]
        peer.host = self.network.attach(me, peer)
        peer.begin()

    def run(self) -> Cluster:
        """Begin, and go on until every honest peer is over."""
        return self._run(lambda peer: self.nodes[peer].over)

    def run_until_expelled(self, count: int = 1, further: int = 0) -> Cluster:
        """Begin, and go on until every honest peer has seen so many others go, and for some steps more."""

        def gone(peer: int) -> bool:
            out = self.expelled(peer)
            last = max((event["step"] for event in out), default=0)
            many = len({event["peer"] for event in out}) >= count
            return many and self.nodes[peer].state.model_step > last + further

        return self._run(lambda peer: self.nodes[peer].over or gone(peer))

    def _run(self, until: Callable[[int], bool]) -> Cluster:
        self.begin()
        self.network.run(lambda: all(until(peer) for peer in self.honest), PATIENCE)
        return self

    # -- what became of it ------------------------------------------------------------------------------

    def check_agreement(self) -> None:
        """Honest peers have finished with one model, and saw the same peers go: none of themselves."""
        self.check_expelled()
        assert len({self.nodes[peer].state.model_digest for peer in self.honest}) == 1
        for peer in self.honest:
            assert self.tasks[peer].model_digest() == self.nodes[peer].state.model_digest
            steps = [entry.record.step for entry in self.computers[peer].applied]
            assert steps == [*range(1, self.steps + 1)]

    def check_expelled(self) -> None:
        """Honest peers go on, and saw the same peers go: none of themselves."""
        assert [self.nodes[peer].failure for peer in self.honest] == [None] * len(self.honest)
        for peer in self.honest:
            assert self.expelled(peer) == self.expelled()
        assert {out["peer"] for out in self.expelled()}.isdisjoint(self.honest)

    def expelled(self, at: int | None = None) -> list[dict[str, Any]]:
        """Who is out, as an honest peer reported it."""
        return self.logs[self.honest[0] if at is None else at].of("expelled")

    def bans(self) -> list[tuple[int, int, str]]:
        """Who was banned, in which step, for which rule."""
        assert all(out["kind"] == "ban" for out in self.expelled())
        return [(out["peer"], out["step"], out["rule"]) for out in self.expelled()]

    def applied(self) -> list[Applied]:
        """The steps that an honest peer applied."""
        return self.computers[self.honest[0]].applied

    def loss(self, peer: int = 0) -> float:
        """The model's loss on all of its training data."""
        task = self.tasks[peer]
        with task.for_inference():
            return float(task.loss(torch.arange(task.examples)))

    def seeds(self, record: Record) -> list[bytes]:
        """The seeds of a step's contributors, in roster order."""
        return [work_of(self.nodes[0].config, record, peer).seed for peer in record.contributors]

    def replay(self) -> torch.Tensor:
        """The parameters that the contributors' true gradients lead to, computed anew from the records."""
        task, tau = self.make_task(), self.genesis.parameters.tau
        for entry in self.applied():
            gradients = [task.gradient(seed) for seed in self.seeds(entry.record)]
            cuts = bounds(task.dimension, len(entry.record.roster))
            parts = [centered_clip([vector[start:end] for vector in gradients], tau) for start, end in cuts]
            task.update(torch.cat(parts))
        return task.parameters_vector()


def spec(text: str) -> AttackSpec:
    """The attack `NAME[@STEP][:OPTIONS]`; NAME is built in, or a class in attacks.py beside this file."""
    own = text[0].isupper()
    return parse(f"{Path(__file__).parent / 'attacks.py'}:{text}" if own else text)
