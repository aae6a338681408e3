"""Peers that keep journals, and can be killed and started again, in virtual time and without torch."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from attrs import define, field

from btard.hashing import digest, object_digest
from btard.keys import verify
from btard.ledger.file import Ledger
from btard.node.bookkeeping import keep_ledger
from btard.node.hello import Hello
from btard.node.journal import Journal, journal_path
from btard.node.kept_objects import KeptObjects
from btard.node.model_files import ModelFiles
from btard.node.peer import Peer
from btard.node.writer import Writer
from btard.statemachine import effects as fx
from btard.statemachine.config import Config
from btard.statemachine.messages import Body, Digest, Envelope, SlotKey
from btard.statemachine.parameters import Timing
from btard.statemachine.table import Phase
from btard.wire import WireError, decode_frame, encode_frame
from btard_transports.memory import MemoryNetwork
from fuzz.world import parameters, timing
from tests.node.abstract import MODEL, Abstract
from tests.node.cluster import Log, key

RUN = digest("test run of returns")
ABSENCE = 3000  # milliseconds, far more than a peer takes here to be back


@define
class Crashed(BaseException):
    """The process is gone, before it carried out this effect."""

    effect: fx.Effect


class Lagging(Writer):
    """Writes nothing before it is waited for: what a process did not wait for is lost with it."""

    def __init__(self) -> None:
        super().__init__("never used")
        self._waiting: list[Callable[[], None]] = []

    def begin(self, job: Callable[[], None]) -> None:
        self._waiting.append(job)

    def wait(self) -> None:
        while self._waiting:
            self._waiting[0]()
            del self._waiting[0]

    def close(self) -> None:
        self._waiting.clear()


@define(eq=False)
class Mortal(Peer):
    """Crashes before the effect of this number, counted from 0."""

    crash_at: int = -1
    phases: list[Phase] = field(factory=list)  # in which each effect was carried out

    def perform(self, effect: fx.Effect) -> None:
        if len(self.phases) == self.crash_at:
            raise Crashed(effect)
        self.phases.append(self.state.phase)
        super().perform(effect)


@define(eq=False)
class Returns:
    """Peers of one run; all have their ledgers in `folder`, and those that are `kept` their journals.

    `signed` is what anybody was sent under a peer's own signature: two messages for one slot fail at once.
    """

    folder: Path
    peers: int = 3
    steps: int = 2
    seed: int = 0
    kept: frozenset[int] = frozenset({0})
    changes: Mapping[str, Any] = field(factory=dict)  # of the run's parameters
    timing: Timing = field(factory=lambda: timing().with_absence(ABSENCE))
    network: MemoryNetwork = field(init=False)
    nodes: dict[int, Mortal] = field(factory=dict)
    logs: dict[int, Log] = field(factory=dict)
    signed: dict[tuple[int, SlotKey], Digest] = field(factory=dict)
    lost: Callable[[int, int], bool] = lambda sender, receiver: False  # whether a frame is
    lost_bodies: type[Body] | tuple[()] = ()  # what peer 0 is not sent
    lies: dict[int, Callable[[Envelope], list[Envelope]]] = field(factory=dict)  # what a cheat sends besides
    _processes: int = 0

    def __attrs_post_init__(self) -> None:
        self.network = MemoryNetwork(self.seed, (0.001, 0.01))
        self.network.filter = self._carried
        for me in range(self.peers):
            self.start(me)

    def start(self, me: int) -> Mortal:
        """Start a process: what an earlier one of this peer kept is all that it knows."""
        self._processes += 1
        pairs = [key(peer) for peer in range(self.peers)]
        run = parameters(self.peers, self.steps, **self.changes)
        config = Config(RUN, me, tuple(p.sign_public for p in pairs), run, self.timing, pairs[me].sign, verify)
        draws = random.Random(f"{self.seed} {self._processes}")
        home, log = self.folder / f"p{me}", Log()
        home.mkdir(exist_ok=True)
        journal = models = kept = None
        if me in self.kept:
            kept = KeptObjects(home, RUN)
            journal = Journal(journal_path(home, RUN), RUN, pairs[me].sign_public)
            models = ModelFiles(home, RUN, Lagging())
            ledger = keep_ledger(home, RUN, "", "", journal, lambda reason: log("error", reason=reason))
        else:
            ledger = Ledger.create(home, RUN, "", "")
        peer = Mortal(
            config=config,
            host=None,  # type: ignore[arg-type] # it follows
            backend=Abstract(run.dimension, draws),
            journal=journal,
            ledger=ledger,
            models=models,
            kept=kept,
            hello=Hello("1", RUN, object_digest(MODEL), b"", b"", {}, draws.randbytes(8)),
            differences=lambda _: "",
            described=lambda _: "",
            report=log,
        )
        peer.remember()
        peer.host = self.network.attach(me, peer)
        self.nodes[me], self.logs[me] = peer, log
        peer.begin()
        return peer

    def kill(self, me: int) -> None:
        """End a process at once: what was not durable is gone."""
        peer = self.nodes.pop(me)
        peer.host.stop()
        if peer.models is not None:
            peer.models.close()
        if peer.journal is not None:
            peer.journal.close()
        peer.ledger.close()

    def close(self) -> None:
        for me in list(self.nodes):
            self.kill(me)

    def crash_at(self, me: int, number: int) -> fx.Effect | None:
        """Run until the peer has carried out so many effects, and kill it; None where it finishes before."""
        self.nodes[me].crash_at = number
        try:
            self.run()
        except Crashed as crash:
            self.kill(me)
            return crash.effect
        return None

    def run(self, until: Callable[[], bool] | None = None, limit: float = 600.0) -> None:
        """Run until `until()` holds, or all are over."""
        self.network.run(until or (lambda: all(peer.over for peer in self.nodes.values())), limit)

    def _carried(self, sender: int, receiver: int, frame: bytes) -> list[tuple[float, bytes]]:
        try:
            decoded = decode_frame(frame, self.peers)
        except WireError:
            decoded = None  # a hello
        if sender in self.lies:
            more = self.lies[sender](decoded) if isinstance(decoded, Envelope) else []
            return [(0.0, each) for each in (frame, *map(encode_frame, more))]
        if isinstance(decoded, Envelope) and decoded.message is not None and decoded.author == sender:
            known = self.signed.setdefault((sender, decoded.message.slot), decoded.hash)
            assert known == decoded.hash, f"peer {sender} signed twice for {decoded.message.slot}"
        message = decoded.message if isinstance(decoded, Envelope) else None
        lost = receiver == 0 and message is not None and isinstance(message.body, self.lost_bodies)
        return [] if lost or self.lost(sender, receiver) else [(0.0, frame)]

    def check_finished(self) -> None:
        """All have finished with one model, nobody is out, and nobody stopped."""
        self.check_one_history()
        assert all(peer.state.epoch == 0 for peer in self.nodes.values())

    def check_one_history(self, *out: int) -> None:
        """All but those who are out have finished with one model, and agree on who was out when, and why."""
        peers = {me: peer for me, peer in self.nodes.items() if me not in out}
        assert {me: peer.failure for me, peer in peers.items()} == dict.fromkeys(peers)
        assert all(peer.state.phase is Phase.DONE for peer in peers.values())
        assert len({peer.state.model_digest for peer in peers.values()}) == 1
        (rosters,) = {peer.state.rosters for peer in peers.values()}
        assert rosters[-1] == tuple(me for me in range(self.peers) if me not in out)
        ledgers = {me: peer.ledger.entries() for me, peer in peers.items()}
        assert len({peer.ledger.export() for peer in peers.values()}) == 1, ledgers
