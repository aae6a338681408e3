"""The bulk protocol without sockets: ranges, requests, offers, and what hostile bytes can do to them."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from btard_transports.fetches import MAX_PATIENCE, PATIENCE, Fetches, JunkError, Progress
from btard_transports.interface import byte_view
from btard_transports.offers import MAX_REQUESTERS, MAX_SERVINGS, MAX_WAITING, OfferBook
from btard_transports.timers import Timers
from btard_transports.wire import (
    CHUNK,
    WINDOW,
    Range,
    WireError,
    decode_get,
    decode_header,
    encode_get,
    encode_header,
)
from tests.transports.fabric import blob

digests = st.binary(min_size=32, max_size=32)
counts = st.integers(0, 2**64 - 1)


@given(digests, st.integers(0, 2**40), st.integers(1, WINDOW))
def test_requests_survive_encoding(digest: bytes, chunk: int, length: int) -> None:
    wanted = Range(digest, chunk * CHUNK, chunk * CHUNK + length)
    assert decode_get(encode_get(wanted)) == wanted


@given(digests, counts)
def test_headers_survive_encoding(digest: bytes, offset: int) -> None:
    assert decode_header(encode_header(digest, offset)) == (digest, offset)


@pytest.mark.refuses("NET-7")
@given(st.binary(max_size=100) | st.builds(lambda d, a, b: encode_get(Range(d, a, b)), digests, counts, counts))
def test_whatever_bytes_come_a_request_is_a_window_or_an_error(frame: bytes) -> None:
    try:
        wanted = decode_get(frame)
    except WireError:
        return
    assert wanted.start % CHUNK == 0
    assert 0 < wanted.end - wanted.start <= WINDOW


@pytest.mark.refuses("NET-7")
@given(st.binary(max_size=100))
def test_whatever_bytes_come_a_header_is_a_digest_and_an_offset_or_an_error(frame: bytes) -> None:
    try:
        digest, _ = decode_header(frame)
    except WireError:
        return
    assert len(digest) == 32


def whole(progress: Progress) -> bytes | None:
    return None if progress.data is None else bytes(progress.data)


def serve(fetches: Fetches, peer: int, first: Range, data: bytes) -> memoryview | None:
    """Answer a request, and those that follow from it, as an honest owner does."""
    requests = [first]
    while requests:
        wanted = requests.pop(0)
        for start in range(wanted.start, wanted.end, CHUNK):
            chunk = memoryview(data)[start : min(start + CHUNK, wanted.end)]
            progress = fetches.accept(peer, wanted.digest, start, chunk, now=0.0)
            if progress.data is not None:
                return progress.data
            if progress.more is not None:
                requests.append(progress.more)
    return None


@pytest.mark.shows("NET-4", "NET-6")
@pytest.mark.parametrize("size", [1, CHUNK, CHUNK + 1, WINDOW, WINDOW + 1, 2 * WINDOW + 12345])
def test_an_honest_owner_is_asked_for_every_byte_once(size: int) -> None:
    digest, data = blob(size)
    fetches = Fetches()
    first = fetches.start(3, digest, size, now=0.0)
    assert fetches.start(3, digest, size, now=0.0) is None
    assert first is not None
    result = serve(fetches, 3, first, data)
    assert result is not None
    assert bytes(result) == data
    with pytest.raises(JunkError, match="not asked for"):
        fetches.accept(3, digest, 0, memoryview(data)[:CHUNK], now=0.0)


@pytest.mark.refuses("NET-4", "NET-7")
@given(st.data())
def test_whatever_an_owner_sends_only_the_true_object_comes_out(draws: st.DataObject) -> None:
    size = 2 * CHUNK + 100
    digest, data = blob(size)
    other, _ = blob(5)
    fetches = Fetches()
    fetches.start(0, digest, size, now=0.0)
    honest = [(digest, 0), (digest, CHUNK), (digest, 2 * CHUNK)]
    for _ in range(draws.draw(st.integers(0, 8))):
        name, offset = draws.draw(
            st.sampled_from([*honest, (other, 0)]) | st.tuples(st.just(digest), st.integers(0, 3 * CHUNK))
        )
        peer = draws.draw(st.sampled_from([0, 0, 0, 1]))
        length = draws.draw(st.sampled_from([0, 1, 100, CHUNK - 1, CHUNK, CHUNK + 1]))
        payload = draws.draw(st.sampled_from([data[offset : offset + length], bytes(length)]))
        try:
            progress = fetches.accept(peer, name, offset, memoryview(payload), now=0.0)
        except JunkError:
            continue
        assert whole(progress) in (None, data)


@pytest.mark.refuses("NET-7")
def test_a_wrong_object_ends_its_request_and_leaves_those_to_others() -> None:
    digest, data = blob(10)
    fetches = Fetches()
    for peer in (0, 1):
        fetches.start(peer, digest, 10, now=0.0)
    with pytest.raises(JunkError, match="wrong digest"):
        fetches.accept(0, digest, 0, memoryview(bytes(10)), now=0.0)
    assert fetches.again(0) == []
    assert fetches.again(1) == [Range(digest, 0, 10)]
    assert whole(fetches.accept(1, digest, 0, memoryview(data), now=0.0)) == data


def test_late_chunks_of_other_sources_and_of_forgotten_objects_are_nobodys_fault() -> None:
    (digest, data), (forgotten, _) = blob(10, 1), blob(10, 2)
    fetches = Fetches()
    for peer in (0, 1):
        fetches.start(peer, digest, 10, now=0.0)
        fetches.start(peer, forgotten, 10, now=0.0)
    fetches.forget(forgotten)
    assert whole(fetches.accept(0, digest, 0, memoryview(data), now=0.0)) == data
    assert fetches.accept(1, digest, 0, memoryview(data), now=0.0) == Progress()
    assert fetches.accept(1, forgotten, 0, memoryview(data), now=0.0) == Progress()


@pytest.mark.shows("NET-6")
@given(st.integers(1, 3), st.integers(0, 3))
def test_an_owner_that_drips_holds_up_no_other_owner(chunks: int, dripped: int) -> None:
    """However far it got, who has the whole object ends the request; less than a chunk at a time is junk."""
    digest, data = blob(chunks * CHUNK)
    fetches = Fetches()
    for owner in (1, 2):
        assert fetches.start(owner, digest, len(data), 0.0) is not None
    pieces = [(offset, data[offset : offset + CHUNK]) for offset in range(0, len(data), CHUNK)]
    with pytest.raises(JunkError, match="wrong size"):
        fetches.accept(1, digest, 0, pieces[0][1][: CHUNK // 2], 0.0)
    for offset, piece in pieces[: min(dripped, chunks - 1)]:
        assert fetches.accept(1, digest, offset, piece, 0.0).digest == b""
    *_, last = [fetches.accept(2, digest, offset, piece, 0.0) for offset, piece in pieces]
    assert last.data == data
    assert fetches.overdue(1e9) == []


def test_a_broken_transfer_is_asked_for_from_where_it_is() -> None:
    size = 2 * CHUNK + 5
    digest, data = blob(size)
    fetches = Fetches()
    fetches.start(0, digest, size, now=0.0)
    first = memoryview(data)[:CHUNK]
    fetches.accept(0, digest, 0, first, now=0.0)
    with pytest.raises(JunkError, match="out of order"):
        fetches.accept(0, digest, 0, first, now=0.0)
    (rest,) = fetches.again(0)
    assert rest == Range(digest, CHUNK, size)
    # The first answer may still be under way: its repetition is not held against the owner.
    assert fetches.accept(0, digest, 0, first, now=0.0) == Progress()
    result = serve(fetches, 0, rest, data)
    assert result is not None
    assert bytes(result) == data


def test_an_unanswered_request_is_repeated_ever_more_rarely() -> None:
    digest, _ = blob(10)
    fetches = Fetches()
    fetches.start(0, digest, 10, now=0.0)
    assert fetches.overdue(PATIENCE - 0.01) == []
    times: list[float] = []
    now = 0.0
    while len(times) < 10:
        now += 1.0
        times += [now for _ in fetches.overdue(now)]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert gaps == sorted(gaps)
    assert gaps[0] == 2 * PATIENCE
    assert gaps[-1] == MAX_PATIENCE
    fetches.drop(0)
    assert fetches.overdue(now + MAX_PATIENCE) == []


@pytest.mark.refuses("NET-5")
def test_waiting_requests_are_bounded_per_requester_and_in_all() -> None:
    book: OfferBook[tuple[int, int]] = OfferBook()
    names = [blob(8, seed)[0] for seed in range(MAX_WAITING + 1)]
    for place, digest in enumerate(names):
        book.wait("greedy", digest, (0, place))
    book.wait("modest", names[0], (1, 0))
    assert book.offer(names[0], b"x", None) == [(1, 0)]
    assert book.offer(names[1], b"x", None) == [(0, 1)]
    for requester in range(MAX_REQUESTERS):
        book.wait(requester, names[2], (requester, 2))
    assert len(book.offer(names[2], b"x", None)) == MAX_REQUESTERS


@pytest.mark.shows("NET-5")
def test_a_newer_request_takes_the_place_of_an_older_one() -> None:
    book: OfferBook[int] = OfferBook()
    digest, data = blob(10)
    book.wait("a", digest, 1)
    book.wait("a", digest, 2)
    book.wait("b", digest, 3)
    book.drop("b")
    assert book.offer(digest, data, None) == [2]
    assert book.offer(digest, data, None) == []


@pytest.mark.refuses("NET-9")
@given(st.lists(st.integers(1, 1000), max_size=30))
def test_nobody_is_sent_more_than_a_few_times_the_object(pieces: list[int]) -> None:
    book: OfferBook[int] = OfferBook()
    digest, data = blob(1000)
    book.offer(digest, data, None)
    sent = sum(piece for piece in pieces if book.charge(digest, "a", piece))
    assert sent <= MAX_SERVINGS * len(data)
    assert sum(pieces) > MAX_SERVINGS * len(data) or sent == sum(pieces)
    assert book.charge(digest, "b", len(data))


def test_offered_memory_must_be_contiguous() -> None:
    with pytest.raises(ValueError, match="contiguous"):
        byte_view(memoryview(b"abcdef")[::2])
    assert bytes(byte_view(memoryview(b"abcdefgh").cast("Q"))) == b"abcdefgh"


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 20)), max_size=200))
def test_timers_expire_in_order_each_at_the_time_that_was_set_last(settings: list[tuple[str, int]]) -> None:
    timers = Timers()
    for timer, due in settings:
        timers.set(timer, due)
    last = dict(settings)
    assert timers.next_due() == min(last.values(), default=None)
    early = list(timers.expired(10))
    late = list(timers.expired(20))
    assert {*early, *late} == set(last)
    assert all(last[str(timer)] <= 10 for timer in early)
    assert [last[str(timer)] for timer in early + late] == sorted(last.values())
    assert timers.next_due() is None
