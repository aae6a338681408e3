"""What every transport promises to a node, checked over each of them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial

import pytest

from btard_transports.interface import MAX_FRAME, Failure
from btard_transports.offers import MAX_SERVINGS
from tests.transports.fabric import Fabric, blob

Make = Callable[[int], Fabric]


@pytest.mark.shows("NET-3")
@pytest.mark.shows("NET-2")
def test_frames_reach_every_peer_from_their_true_sender_and_in_order(make: Make) -> None:
    fabric = make(4)
    numbers = range(20)
    for sender, host in enumerate(fabric.hosts):
        for number in numbers:
            for receiver in range(4):
                if receiver != sender:
                    host.send(receiver, b"%d:%d" % (sender, number))
    fabric.until(lambda: all(len(recorder.frames) == 3 * len(numbers) for recorder in fabric.recorders))
    for receiver, recorder in enumerate(fabric.recorders):
        for sender in set(range(4)) - {receiver}:
            assert [f for s, f in recorder.frames if s == sender] == [b"%d:%d" % (sender, n) for n in numbers]


def test_links_come_up_with_everybody(make: Make) -> None:
    fabric = make(3)
    fabric.until(lambda: all(len(recorder.up) == 2 for recorder in fabric.recorders))
    assert [recorder.up for recorder in fabric.recorders] == [{1, 2}, {0, 2}, {0, 1}]


@pytest.mark.parametrize("size", [1, 1000, 1024 * 1024, 3 * 1024 * 1024 + 5])
@pytest.mark.shows("NET-4", "NET-5")
def test_an_object_comes_whether_it_is_offered_before_or_after_the_request(make: Make, size: int) -> None:
    fabric = make(2)
    (early, first), (late, second) = blob(size, 1), blob(size, 2)
    owner, requester = fabric.hosts
    owner.offer(early, first, None)
    requester.fetch(0, early, size)
    requester.fetch(0, late, size)
    fabric.until(lambda: early in fabric.recorders[1].objects)
    assert late not in fabric.recorders[1].objects
    owner.offer(late, second, None)
    fabric.until(lambda: late in fabric.recorders[1].objects)
    assert bytes(fabric.recorders[1].objects[early]) == first
    assert bytes(fabric.recorders[1].objects[late]) == second
    assert fabric.recorders[1].deliveries == 2


def test_what_comes_is_memory_of_ones_own(make: Make) -> None:
    fabric = make(2)
    digest, data = blob(5000)
    fabric.hosts[0].offer(digest, data, None)
    fabric.hosts[1].fetch(0, digest, len(data))
    fabric.until(lambda: digest in fabric.recorders[1].objects)
    fabric.recorders[1].objects[digest][0] ^= 0xFF
    assert blob(5000)[1] == data


def test_an_empty_object_comes_too(make: Make) -> None:
    fabric = make(2)
    digest, _ = blob(0)
    fabric.hosts[1].fetch(0, digest, 0)
    fabric.until(lambda: digest in fabric.recorders[1].objects)
    assert len(fabric.recorders[1].objects[digest]) == 0


@pytest.mark.refuses("NET-7")
def test_a_digest_of_something_else_is_never_the_empty_object(make: Make) -> None:
    fabric = make(2)
    digest, _ = blob(1)
    fabric.hosts[1].fetch(0, digest, 0)
    fabric.until(lambda: fabric.hosts[1].counters.junk == 1)
    assert not fabric.recorders[1].objects


@pytest.mark.shows("NET-5")
def test_an_object_goes_only_to_those_it_is_offered_to_until_it_is_offered_to_more(
    make_authenticated: Make,
) -> None:
    fabric = make_authenticated(3)
    (digest, data), (other, other_data) = blob(1000, 1), blob(1000, 2)
    for requester in (1, 2):
        fabric.hosts[requester].fetch(0, digest, len(data))
        fabric.hosts[requester].fetch(0, other, len(other_data))
    fabric.hosts[0].offer(digest, data, frozenset({1}))
    fabric.until(lambda: digest in fabric.recorders[1].objects)
    # The second object is served after the first could have been.
    fabric.hosts[0].offer(other, other_data, frozenset({2}))
    fabric.until(lambda: other in fabric.recorders[2].objects)
    assert set(fabric.recorders[1].objects) == {digest}
    assert set(fabric.recorders[2].objects) == {other}
    fabric.hosts[0].offer(digest, data, None)
    fabric.until(lambda: digest in fabric.recorders[2].objects)


@pytest.mark.refuses("NET-7")
@pytest.mark.shows("NET-7")
def test_wrong_data_is_discarded_and_another_source_can_still_deliver(make: Make) -> None:
    fabric = make(3)
    digest, data = blob(2 * 1024 * 1024)
    fabric.hosts[2].fetch(0, digest, len(data))
    fabric.hosts[0].offer(digest, bytes(len(data)), None)
    fabric.until(lambda: fabric.hosts[2].counters.junk == 1)
    assert not fabric.recorders[2].objects
    fabric.hosts[2].fetch(1, digest, len(data))
    fabric.hosts[1].offer(digest, data, None)
    fabric.until(lambda: digest in fabric.recorders[2].objects)
    assert bytes(fabric.recorders[2].objects[digest]) == data


@pytest.mark.shows("NET-4")
def test_of_several_sources_the_first_delivers_and_the_object_comes_once(make: Make) -> None:
    fabric = make(4)
    (digest, data), (marker, mark) = blob(3 * 1024 * 1024, 1), blob(10, 2)
    for owner in (0, 1, 2):
        fabric.hosts[3].fetch(owner, digest, len(data))
        fabric.hosts[3].fetch(owner, marker, len(mark))
    for owner in (0, 1, 2):
        fabric.hosts[owner].offer(digest, data, None)
    fabric.until(lambda: digest in fabric.recorders[3].objects)
    fabric.hosts[0].offer(marker, mark, None)
    fabric.until(lambda: marker in fabric.recorders[3].objects)
    assert fabric.recorders[3].deliveries == 2
    assert fabric.hosts[3].counters.junk == 0


@pytest.mark.refuses("NET-7")
def test_a_request_for_a_wrong_size_gets_nothing(make: Make) -> None:
    fabric = make(2)
    digest, data = blob(1000)
    fabric.hosts[0].offer(digest, data, None)
    fabric.hosts[1].fetch(0, digest, 999)
    fabric.until(lambda: fabric.hosts[0].counters.junk == 1)
    assert not fabric.recorders[1].objects


def test_what_is_withdrawn_is_not_served_any_more(make: Make) -> None:
    fabric = make(2)
    (digest, data), (marker, mark) = blob(1000, 1), blob(10, 2)
    fabric.hosts[0].offer(digest, data, None)
    fabric.hosts[0].withdraw(digest)
    fabric.hosts[0].offer(marker, mark, None)
    fabric.hosts[1].fetch(0, digest, len(data))
    fabric.hosts[1].fetch(0, marker, len(mark))
    fabric.until(lambda: marker in fabric.recorders[1].objects)
    assert digest not in fabric.recorders[1].objects
    fabric.hosts[0].offer(digest, data, None)
    fabric.until(lambda: digest in fabric.recorders[1].objects)


def test_what_is_forgotten_does_not_come(make: Make) -> None:
    fabric = make(2)
    (digest, data), (marker, mark) = blob(1000, 1), blob(10, 2)
    fabric.hosts[1].fetch(0, digest, len(data))
    fabric.hosts[1].fetch(0, marker, len(mark))
    fabric.hosts[1].forget(digest)
    fabric.hosts[0].offer(digest, data, None)
    fabric.hosts[0].offer(marker, mark, None)
    fabric.until(lambda: marker in fabric.recorders[1].objects)
    assert digest not in fabric.recorders[1].objects
    assert fabric.hosts[1].counters.junk == 0


@pytest.mark.refuses("NET-9")
@pytest.mark.shows("NET-9")
def test_one_peer_is_sent_an_object_a_few_times_and_no_more(make_authenticated: Make) -> None:
    fabric = make_authenticated(2)
    digest, data = blob(1000)
    fabric.hosts[0].offer(digest, data, None)
    recorder = fabric.recorders[1]
    for _ in range(MAX_SERVINGS):
        recorder.objects.clear()
        fabric.hosts[1].fetch(0, digest, len(data))
        fabric.until(lambda: digest in recorder.objects)
    fabric.hosts[1].fetch(0, digest, len(data))
    fabric.until(lambda: fabric.hosts[0].counters.dropped == 1)
    assert recorder.deliveries == MAX_SERVINGS
    assert fabric.hosts[0].counters.bulk_bytes_sent == MAX_SERVINGS * len(data)


def test_timers_expire_in_order_and_setting_one_again_moves_it(make: Make) -> None:
    fabric = make(1)
    host, recorder = fabric.hosts[0], fabric.recorders[0]
    before = host.now()
    for timer, delay in (("late", 0.03), ("early", 0.01), ("moved", 0.001), (("a", 1), 0.02)):
        host.set_timer(timer, delay)
    host.set_timer("moved", 0.04)
    fabric.until(lambda: len(recorder.timers) == 4)
    assert recorder.timers == ["early", ("a", 1), "late", "moved"]
    assert host.now() - before >= 0.04


def test_computations_run_in_order_and_failures_are_results(make: Make) -> None:
    fabric = make(1)
    host, recorder = fabric.hosts[0], fabric.recorders[0]
    ran: list[int] = []

    def fail() -> object:
        raise ArithmeticError("no")

    def square(number: int) -> int:
        ran.append(number)
        return number * number

    for number in range(5):
        host.submit(number, partial(square, number))
    host.submit("bad", fail)
    host.submit("after", lambda: "fine")
    fabric.until(lambda: len(recorder.done) == 7)
    assert ran == [0, 1, 2, 3, 4]
    assert recorder.done[:5] == [(number, number * number) for number in range(5)]
    token, failure = recorder.done[5]
    assert token == "bad"
    assert isinstance(failure, Failure)
    assert str(failure.exception) == "no"
    assert recorder.done[6] == ("after", "fine")


def test_no_computation_holds_up_what_is_stored(zmq_fabric: Make) -> None:
    fabric = zmq_fabric(1)
    host, recorder = fabric.hosts[0], fabric.recorders[0]
    stored = threading.Event()
    host.submit("computed", lambda: stored.wait(60))  # in vain, if they shared a thread
    host.store("first", lambda: "1")
    host.store("second", stored.set)
    fabric.until(lambda: len(recorder.done) == 3)
    assert [done for done in recorder.done if done[0] != "computed"] == [("first", "1"), ("second", None)]
    assert ("computed", True) in recorder.done


@pytest.mark.refuses("NET-3")
def test_a_peer_that_is_no_member_any_more_is_not_heard(make: Make) -> None:
    fabric = make(3)
    fabric.until(lambda: all(len(recorder.up) == 2 for recorder in fabric.recorders))
    fabric.hosts[0].set_members(frozenset({0, 1}))
    fabric.hosts[2].send(0, b"from outside")
    fabric.until(lambda: fabric.hosts[0].counters.refused > 0)
    fabric.hosts[1].send(0, b"from inside")
    fabric.until(lambda: bool(fabric.recorders[0].frames))
    assert fabric.recorders[0].frames == [(1, b"from inside")]
    fabric.hosts[0].send(2, b"to outside")
    fabric.hosts[0].fetch(2, blob(5)[0], 5)
    assert fabric.hosts[0].counters.dropped == 2


def test_who_becomes_a_member_again_is_heard_again(make: Make) -> None:
    fabric = make(3)
    fabric.until(lambda: all(len(recorder.up) == 2 for recorder in fabric.recorders))
    digest, data = blob(100)
    fabric.hosts[2].offer(digest, data, None)
    fabric.hosts[0].set_members(frozenset({0, 1}))
    fabric.hosts[0].set_members(frozenset({0, 1, 2}))
    fabric.hosts[2].send(0, b"back")
    fabric.hosts[0].send(2, b"welcome")
    fabric.hosts[0].fetch(2, digest, len(data))
    fabric.until(lambda: bool(fabric.recorders[2].frames) and digest in fabric.recorders[0].objects)
    fabric.until(lambda: bool(fabric.recorders[0].frames))
    assert fabric.recorders[0].frames == [(2, b"back")]
    assert fabric.recorders[2].frames == [(0, b"welcome")]


@pytest.mark.refuses("NET-8")
def test_a_frame_that_no_peer_would_accept_cannot_be_sent(make: Make) -> None:
    fabric = make(2)
    with pytest.raises(ValueError, match="larger than max_frame"):
        fabric.hosts[0].send(1, bytes(MAX_FRAME + 1))
    fabric.hosts[0].send(1, bytes(MAX_FRAME))
    fabric.until(lambda: bool(fabric.recorders[1].frames))


def test_nothing_is_delivered_after_a_stop(make: Make) -> None:
    fabric = make(2)
    stopping, recorder = fabric.hosts[1], fabric.recorders[1]
    recorder.on_frame = lambda peer, frame: stopping.stop()
    for number in range(10):
        fabric.hosts[0].send(1, b"%d" % number)
    fabric.until(lambda: bool(recorder.frames))
    fabric.hosts[0].set_timer("later", 0.05)
    fabric.until(lambda: bool(fabric.recorders[0].timers))
    assert recorder.frames == [(0, b"0")]


def test_what_names_no_object_is_an_error_at_once(make: Make) -> None:
    host = make(2).hosts[0]
    with pytest.raises(ValueError, match="no object"):
        host.offer(b"short", b"data", None)
    with pytest.raises(ValueError, match="no object"):
        host.fetch(1, b"short", 4)
    with pytest.raises(ValueError, match="no object"):
        host.fetch(1, blob(4)[0], -1)
