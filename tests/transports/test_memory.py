"""The memory transport: virtual time, one seed for everything, and what tests can do to its links."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from btard_transports.memory import MemoryNetwork, Stalled
from btard_transports.memory_host import MemoryHost
from tests.transports.fabric import Recorder, blob


def network(n: int, compute_time: float = 0.001) -> tuple[MemoryNetwork, list[MemoryHost], list[Recorder]]:
    net = MemoryNetwork(0, compute_time=compute_time)
    recorders = [Recorder() for _ in range(n)]
    return net, [net.attach(peer, recorder) for peer, recorder in enumerate(recorders)], recorders


@attrs.define
class Gossip(Recorder):
    """Passes every frame on to somebody, and logs when."""

    host: MemoryHost | None = None
    log: list[tuple[float, int, bytes]] = attrs.field(factory=list)

    def on_control(self, peer: int, frame: bytes) -> None:
        assert self.host is not None
        self.log.append((self.host.now(), peer, frame))
        if len(frame) < 50:
            self.host.send((self.host.me + len(frame)) % 4, frame + b"x")


def gossip(seed: int) -> list[list[tuple[float, int, bytes]]]:
    net = MemoryNetwork(seed)
    handlers = [Gossip() for _ in range(4)]
    for peer, handler in enumerate(handlers):
        handler.host = net.attach(peer, handler)
    for handler in handlers:
        assert handler.host is not None
        handler.host.send((handler.host.me + 1) % 4, b"%d" % handler.host.me)
    with pytest.raises(Stalled, match="nothing is left"):
        net.run(lambda: False, 1000.0)
    return [handler.log for handler in handlers]


@given(st.integers(0, 2**32))
def test_a_run_is_a_function_of_its_seed(seed: int) -> None:
    assert gossip(seed) == gossip(seed)
    assert gossip(seed) != gossip(seed + 1)


@given(st.integers(0, 2**32), st.lists(st.binary(max_size=5), max_size=20))
def test_frames_of_a_link_come_in_order_and_within_the_latency(seed: int, frames: list[bytes]) -> None:
    net = MemoryNetwork(seed, latency=(0.1, 0.3))
    recorder = Recorder()
    sender = net.attach(0, Recorder())
    net.attach(1, recorder)
    for frame in frames:
        sender.send(1, frame)
    net.run(lambda: len(recorder.frames) == len(frames), 0.3)
    assert [frame for _, frame in recorder.frames] == frames
    assert net.now <= 0.3


def test_a_filter_drops_doubles_corrupts_and_delays() -> None:
    net, hosts, recorders = network(2)
    fates = {
        b"drop": [],
        b"double": [(0.0, b"double"), (0.0, b"double")],
        b"corrupt": [(0.0, b"garbage")],
        b"delay": [(5.0, b"delay")],
        b"fine": [(0.0, b"fine")],
    }
    net.filter = lambda sender, receiver, frame: fates[frame]
    for frame in fates:
        hosts[0].send(1, frame)
    net.run(lambda: len(recorders[1].frames) == 5, 10.0)
    assert [frame for _, frame in recorders[1].frames] == [
        b"double",
        b"double",
        b"garbage",
        b"fine",
        b"delay",
    ]
    assert net.now >= 5.0


def test_a_bulk_filter_corrupts_what_is_then_discarded() -> None:
    net, hosts, recorders = network(2)
    digest, data = blob(100)
    net.bulk_filter = lambda owner, requester, name, body: [(0.0, body[:-1]), (1.0, body)]
    hosts[0].offer(digest, data, None)
    hosts[1].fetch(0, digest, len(data))
    net.run(lambda: hosts[1].counters.junk == 1, 10.0)
    net.bulk_filter = None
    hosts[1].fetch(0, digest, len(data))
    net.run(lambda: digest in recorders[1].objects, 10.0)
    assert bytes(recorders[1].objects[digest]) == data


def test_a_run_that_cannot_go_on_says_who_waits_for_what() -> None:
    net, hosts, _ = network(3)
    digest, data = blob(100)
    hosts[1].fetch(0, digest, len(data))
    hosts[1].fetch(2, digest, len(data))
    with pytest.raises(Stalled, match=r"^nothing is left to happen at 0\.\d+ s; .*peer 1 waits for 1 objects$"):
        net.run(lambda: False, 10.0)
    hosts[0].set_timer("later", 100.0)
    with pytest.raises(Stalled, match=r"^not done after 50\.000 s, at 50\.\d+ s; 1 events are pending; "):
        net.run(lambda: False, 50.0)


def test_computations_take_virtual_time_one_after_the_other() -> None:
    net, (host,), (recorder,) = network(1, compute_time=2.0)
    for token in range(3):
        host.submit(token, lambda: None)
    net.run(lambda: len(recorder.done) == 3, 10.0)
    assert net.now == 6.0
    host.submit("later", lambda: None)
    net.run(lambda: len(recorder.done) == 4, 10.0)
    assert net.now == 8.0


def test_a_peer_that_comes_back_is_asked_again() -> None:
    net, hosts, recorders = network(2)
    digest, data = blob(100)
    hosts[1].fetch(0, digest, len(data))
    hosts[0].stop()
    net.run(lambda: 0 not in recorders[1].up and net.now > 0, 10.0)
    hosts[1].send(0, b"lost")
    again = Recorder()
    net.attach(0, again).offer(digest, data, None)
    net.run(lambda: digest in recorders[1].objects, 10.0)
    net.run(lambda: 0 in recorders[1].up and 1 in again.up, 10.0)
