"""One peer among others: how it starts, and what hostile frames cannot do to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import cbor2
import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from btard.hashing import digest
from btard.node.hello import Hello, decode_hello, encode_hello
from btard.statemachine.messages import (
    Accuse,
    Body,
    Chain,
    Commit,
    Enter,
    Envelope,
    Evidence,
    EvidenceKind,
    GuiltyClass,
    Late,
    Pull,
    Reveal,
    Vote,
)
from btard.statemachine.table import STEP_PHASES, Phase
from btard.wire import decode_frame, encode_frame, encode_payload, make_envelope, max_frame, signed_content
from tests.node.cluster import Cluster, key
from tests.node.hostile import structures

PEERS = 4
BYZANTINE = 3


def message(author: int, body: Body, run: bytes, epoch: int = 0) -> bytes:
    """A frame with a message that `author`'s key has signed."""
    payload = encode_payload(epoch, body)
    return encode_frame(make_envelope(author, payload, key(author).sign(signed_content(run, payload))))


# -- hostile frames ---------------------------------------------------------------------------------------


class Scene:
    """Peer 0 in the middle of a run, and real frames that the others have sent to it."""

    def __init__(self) -> None:
        self.cluster = Cluster(peers=PEERS, steps=3)
        self.frames: list[bytes] = []
        self.cluster.network.filter = self._note
        self.cluster.begin()
        self.peer = self.cluster.nodes[0]
        self.cluster.network.run(lambda: self.peer.state.at.number == 2, 60)
        self.run = self.cluster.genesis.run_id
        self.messages = [frame for frame in self.frames if self._arrived(frame)]

    def _note(self, _: int, receiver: int, frame: bytes) -> list[tuple[float, bytes]]:
        if receiver == 0:
            self.frames.append(frame)
        return [(0.0, frame)]

    def _arrived(self, frame: bytes) -> bool:
        """Whether this is a message that the peer has filed: some may still be under way."""
        if not frame[1:].startswith(b"\x67message"):
            return False
        decoded = decode_frame(frame, PEERS)
        assert isinstance(decoded, Envelope)
        known = self.peer.state.slots.get(decoded.message.slot) if decoded.message else None
        return known is not None and known.hash == decoded.hash

    def unmoved_by(self, frame: bytes, sender: int = BYZANTINE) -> None:
        before = self.peer.state
        self.peer.on_control(sender, frame)
        assert self.peer.state == before
        assert self.peer.failure is None


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    made = Scene()
    yield made
    for log in made.cluster.logs:
        for entry in [*log.of("garbage"), *log.of("rejected")]:
            assert entry["reason"].isprintable()
            assert len(entry["reason"]) < 300
    made.cluster.network.filter = None
    made.cluster.network.run(lambda: all(peer.over for peer in made.cluster.nodes), 60)
    made.cluster.check_agreement()  # all that was thrown at peer 0 did not matter
    assert made.cluster.expelled() == []


@pytest.mark.refuses("MSG-1", "MSG-4", "MSG-8")
@given(frame=st.binary(max_size=200) | st.binary(max_size=100).map(lambda tail: b"\x84\x67message" + tail))
def test_random_bytes_change_nothing(scene: Scene, frame: bytes) -> None:
    scene.unmoved_by(frame)


HEADS = st.sampled_from(["message", "pull", "chain", "hello", "", 7, None])


@pytest.mark.refuses("MSG-1", "MSG-8")
@given(head=HEADS, rest=st.lists(structures, max_size=6))
def test_random_structures_change_nothing(scene: Scene, head: object, rest: list[Any]) -> None:
    scene.unmoved_by(cbor2.dumps([head, *rest], canonical=True))


@pytest.mark.refuses("MSG-2", "MSG-8")
@given(data=st.data())
def test_a_damaged_message_changes_nothing(scene: Scene, data: st.DataObject) -> None:
    frame = bytearray(data.draw(st.sampled_from(scene.messages)))
    place = data.draw(st.integers(0, len(frame) - 1))
    match data.draw(st.sampled_from(["flip", "cut", "grow"])):
        case "flip":
            frame[place] ^= data.draw(st.integers(1, 255))
        case "cut":
            del frame[place:]
        case "grow":
            frame[place:place] = data.draw(st.binary(min_size=1, max_size=5))
    scene.unmoved_by(bytes(frame))


@pytest.mark.refuses("MSG-8")
@given(data=st.data(), sender=st.integers(1, PEERS - 1))
def test_a_repeated_message_changes_nothing(scene: Scene, data: st.DataObject, sender: int) -> None:
    scene.unmoved_by(data.draw(st.sampled_from(scene.messages)), sender)


BODIES: list[Callable[[int], Body]] = [
    lambda step: Commit(step, bytes(32), (bytes(32),) * PEERS, bytes(32), bytes(32), bytes(32)),
    lambda step: Reveal(step, bytes(32), bytes(32), bytes(32)),
    lambda step: Accuse(step, bytes(32), bytes(32), bytes(32), None),
    lambda step: Enter(step, 1),
    lambda step: Late(step, 0, 1, -1),
    lambda step: Vote(step, 4, 1, bytes(32), 2),
]


@pytest.mark.refuses("MSG-2", "MSG-8", "AGR-4")
@pytest.mark.parametrize("make", BODIES)
def test_signed_messages_out_of_place_change_nothing(scene: Scene, make: Callable[[int], Body]) -> None:
    scene.unmoved_by(message(BYZANTINE, make(2), b"another run".ljust(32)))
    scene.unmoved_by(message(BYZANTINE, make(4), scene.run))  # no honest peer is that far
    scene.unmoved_by(message(BYZANTINE, make(2**32 - 1), scene.run))
    scene.unmoved_by(message(BYZANTINE, make(2), scene.run, epoch=7))
    scene.unmoved_by(message(PEERS, make(2), scene.run))  # a stranger's key
    scene.unmoved_by(message(0, make(2), scene.run))  # its own
    payload = encode_payload(0, make(2))
    signature = key(BYZANTINE).sign(signed_content(scene.run, payload))
    scene.unmoved_by(encode_frame(make_envelope(1, payload, signature)))  # in another's name


@pytest.mark.refuses("MSG-8", "AGR-6")
@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.integers(0, 4))
def test_a_pull_of_another_place_changes_nothing(scene: Scene, epoch: int, step: int, phase: int) -> None:
    if (epoch, step) not in {(0, 1), (0, 2)}:
        scene.unmoved_by(encode_frame(Pull(epoch, step, phase)))


@pytest.mark.refuses("MSG-4")
def test_an_oversized_frame_changes_nothing(scene: Scene) -> None:
    payload = cbor2.dumps(["message", 3, bytes(max_frame(PEERS)), bytes(64)], canonical=True)
    scene.unmoved_by(payload)
    assert max(len(frame) for frame in scene.frames) < max_frame(PEERS)


@pytest.mark.refuses("MSG-8")
def test_a_flood_does_not_fill_the_log(scene: Scene) -> None:
    log = scene.cluster.logs[0]
    before = len(log.events)
    forged = message(BYZANTINE, Enter(2, 1), b"another run".ljust(32))
    for number in range(2000):
        scene.unmoved_by(number.to_bytes(4, "little"))
        scene.unmoved_by(forged, sender=2)
    assert 0 < len(log.events) - before <= 2 * 20
    assert log.of("garbage")[-1]["times"] >= 1024
    assert log.of("rejected")[-1]["peer"] == 2


def test_unasked_bulk_is_not_kept(scene: Scene) -> None:
    name = digest("unasked")
    scene.peer.on_bulk(name, bytearray(8))
    assert scene.peer.backend.store.data(name) is None


# -- before the start -------------------------------------------------------------------------------------


@pytest.mark.refuses("MSG-4")
def test_a_flood_before_the_start_is_bounded_and_pushes_out_nobody() -> None:
    scene = Scene()  # the same run, to take real frames from
    hellos = [frame for frame in scene.frames if frame[1:].startswith(b"\x65hello")]
    starts = {hello.start for frame in hellos if (hello := decode_hello(frame)) is not None}
    assert len(starts) == 3  # each process has drawn a number of its own
    commit = next(
        frame for frame in scene.frames if frame[1:].startswith(b"\x67message") and _author(frame) == 1
    )
    cluster = Cluster(peers=PEERS, steps=3)
    peer = cluster.nodes[0]
    cluster.join(0)
    for number in range(5000):
        peer.on_control(BYZANTINE, number.to_bytes(4, "little"))
        if number == 2500:
            peer.on_control(1, commit)
    assert cluster.logs[0].of("garbage") == []  # nobody is blamed before the start
    answer = decode_hello(hellos[0])
    assert answer is not None
    for other in (1, 2, 3):
        peer.on_control(other, encode_hello(evolve(answer, to=peer.hello.start)))
    assert cluster.logs[0].of("started")
    assert ("phase", 0, 0, 0, 1) in peer.state.slots
    assert 0 < cluster.logs[0].of("garbage")[-1]["times"] <= max_frame(PEERS) // 64


def _author(frame: bytes) -> int:
    author: int = cbor2.loads(frame)[1]
    return author


@pytest.mark.shows("GEN-7")
def test_peers_wait_for_whoever_is_late() -> None:
    cluster = Cluster(peers=PEERS, steps=1)
    cluster.begin(absent=[2])
    cluster.network.run(lambda: cluster.network.now > 10, 60)
    for me in (0, 1, 3):
        assert [entry["missing"] for entry in cluster.logs[me].of("waiting")] == [[2]] * 3
        assert [entry["seconds"] for entry in cluster.logs[me].of("waiting")] == [3.0, 6.0, 9.0]
        assert not cluster.logs[me].of("started")
    cluster.join(2)
    cluster.network.run(lambda: all(peer.over for peer in cluster.nodes), 60)
    cluster.check_agreement()


@pytest.mark.refuses("GEN-7")
@pytest.mark.parametrize("wait", [0.0, 1.0, 4.0, 60.0])
def test_peers_do_not_wait_for_ever(wait: float) -> None:
    cluster = Cluster(peers=PEERS, steps=1)
    for peer in cluster.nodes:
        peer.wait_limit = wait
    cluster.begin(absent=[2])
    network, waiting = cluster.network, [cluster.nodes[me] for me in (0, 1, 3)]
    network.run(lambda: all(peer.over for peer in waiting), 100)
    assert network.now == pytest.approx(wait)
    for peer in waiting if wait else []:
        assert peer.failure is not None
        assert f"peers [2] did not join within {wait:.0f} s (peer 2: no connection yet)" in peer.failure
        assert "addresses and ports" in peer.failure


CHANGES: list[dict[str, Any]] = [
    {"version": "9.9.9"},
    {"run": b"r" * 32},
    {"model": b"m" * 32},
    {"canary": b"c" * 32},
]


@pytest.mark.refuses("GEN-7", "TRN-10")
@pytest.mark.parametrize("change", CHANGES)
def test_a_peer_of_another_run_is_named_and_keeps_the_run_from_starting(change: dict[str, Any]) -> None:
    cluster = Cluster(peers=PEERS, steps=1)
    odd = cluster.nodes[1]
    odd.hello = evolve(odd.hello, **change)
    cluster.begin()
    cluster.network.run(lambda: all(peer.over for peer in cluster.nodes), 100)
    for me, log in enumerate(cluster.logs):
        others = {0, 2, 3} if me == 1 else {1}
        told = log.of("mismatch")
        assert {entry["peer"] for entry in told} == others
        assert len(told) == len(others)  # once each, however often they say hello
        for entry in told:
            assert entry["reason"].startswith(f"peer {entry['peer']}: it ")
        assert not log.of("started")
        assert f"peers {sorted(others)} did not join" in str(cluster.nodes[me].failure)


@pytest.mark.refuses("GEN-7")
def test_a_liar_that_says_many_hellos_hides_nobody_elses() -> None:
    cluster = Cluster(peers=PEERS, steps=1)
    peer, log = cluster.nodes[0], cluster.logs[0]
    cluster.join(0)
    for number in range(1000):
        peer.on_control(BYZANTINE, encode_hello(evolve(peer.hello, version=f"{number}")))
    peer.on_control(1, encode_hello(evolve(peer.hello, run=bytes(32))))
    told = [entry["peer"] for entry in log.of("mismatch")]
    assert told.count(BYZANTINE) == 4
    assert told.count(1) == 1


@pytest.mark.shows("OPS-1")
@pytest.mark.refuses("OPS-1")
def test_two_processes_with_one_key_are_found_out_and_one_may_go_on() -> None:
    cluster = Cluster(peers=3, steps=1)
    peer, log, network = cluster.nodes[0], cluster.logs[0], cluster.network
    hello, other = cluster.nodes[1].hello, cluster.nodes[2].hello
    to = peer.hello.start
    first, second = evolve(hello, start=b"first", to=to), evolve(hello, start=b"second", to=to)
    cluster.join(0)
    peer.on_control(1, encode_hello(first))
    peer.on_control(1, encode_hello(second))  # as if it was stopped and started again
    assert log.of("mismatch") == []
    assert [entry["missing"] for entry in log.of("joined")] == [[2]]
    for _ in range(3):
        peer.on_control(1, encode_hello(first))
        peer.on_control(1, encode_hello(second))
    (told,) = log.of("mismatch")
    assert told["reason"].startswith("peer 1: two processes say hello with its key; stop one of them")
    peer.on_control(2, encode_hello(evolve(other, to=to)))
    assert not peer.started
    network.run(lambda: network.now > 3.5, 60)
    assert log.of("waiting")[-1]["reasons"] == ["two processes say hello with its key"]
    peer.on_control(1, encode_hello(second))  # the other one has been silent for a while
    assert peer.started
    peer.on_control(1, encode_hello(first))
    assert "two processes say hello with its key" in log.of("again")[0]["reason"]


def test_hellos_after_the_start_change_nothing(scene: Scene) -> None:
    scene.unmoved_by(encode_hello(scene.peer.hello))
    scene.unmoved_by(encode_hello(Hello("x", b"", b"", b"", b"", {})))


# -- the end ----------------------------------------------------------------------------------------------


@pytest.mark.shows("AGR-18")
def test_a_peer_that_stopped_says_nothing_more() -> None:
    cluster = Cluster(peers=PEERS, steps=3)
    peer, log = cluster.nodes[1], cluster.logs[1]
    cluster.begin()
    cluster.network.run(lambda: peer.state.at.number == 2, 60)
    peer.backend.backend.task.loss = _no_loss
    cluster.network.run(lambda: peer.over, 60)
    assert [entry["reason"] for entry in log.of("stopped")] == [peer.failure]
    said, state, events = peer.host.counters.control_frames_sent, peer.state, len(log.events)
    others = [cluster.nodes[other] for other in (0, 2, 3)]
    cluster.network.run(lambda: all(other.over for other in others), 60)
    assert peer.host.counters.control_frames_sent == said
    assert peer.state is state
    assert all(entry["event"] == "link" for entry in log.events[events:])
    assert [out["peer"] for out in cluster.expelled(0)] == [1]


def _no_loss(_: object) -> object:
    raise ValueError("the data is gone")


@pytest.mark.shows("AGR-17", "AGR-20", "OPS-13")
def test_evidence_that_nobody_signed_reaches_the_state_machine_too() -> None:
    """Found by a partition of real peers: the ledger kept to itself why a peer that was left behind is out."""
    scene = Scene()
    bodies = [Reveal(1, bytes([byte]) * 32, bytes(32), bytes(32)) for byte in (1, 2)]
    twice = [decode_frame(message(BYZANTINE, body, scene.run), PEERS) for body in bodies]
    said = tuple(envelope for envelope in twice if isinstance(envelope, Envelope))
    evidence = Evidence(EvidenceKind.EQUIVOCATION, BYZANTINE, said)
    assert scene.peer.state.phase in STEP_PHASES
    scene.peer.on_control(1, encode_frame(Chain(0, GuiltyClass("ban", BYZANTINE), evidence, ())))
    assert scene.peer.state.phase is Phase.SETTLE


@pytest.mark.parametrize("compute_time", [0.0, 0.001, 0.09])
def test_the_last_figures_are_reported_however_long_they_take(compute_time: float) -> None:
    cluster = Cluster(peers=3, steps=2, compute_time=compute_time).run()
    for log in cluster.logs:
        assert [entry["step"] for entry in log.of("progress")] == [1, 2]
        assert "accuracy" in log.of("progress")[-1]


@pytest.mark.shows("STP-1", "STP-15")
def test_what_is_reported() -> None:
    cluster = Cluster(peers=3, steps=1).run()
    log = cluster.logs[0]
    phases = [(entry["step"], entry["phase"]) for entry in log.of("phase")]
    names = ["COMMIT", "REDUCE", "REVEAL", "VALIDATE", "ACCUSE"]
    # All three contribute in step 1, so three closing steps follow.
    assert phases == [*((step, name) for step in range(5) for name in names), (5, "DONE")]
    assert log.of("finished") == [{"event": "finished", "digest": cluster.tasks[0].model_digest().hex()}]
