"""The codec: what is encoded decodes again, and nothing else does."""

import math
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cbor2
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from btard.statemachine.config import faults, quorum
from btard.statemachine.messages import (
    Accuse,
    Body,
    Certificate,
    Chain,
    Claim,
    ClaimKind,
    Class,
    Commit,
    CommitClass,
    Enter,
    Envelope,
    Epoch,
    Evidence,
    EvidenceKind,
    Frame,
    GuiltyClass,
    Late,
    Message,
    Need,
    NoVerdict,
    Poll,
    Publish,
    Pull,
    Reduce,
    Reveal,
    Stay,
    Validate,
    Vote,
)
from btard.wire import (
    FIELDS,
    WireError,
    class_content,
    decode_frame,
    decode_payload,
    encode_frame,
    encode_payload,
    make_envelope,
    max_frame,
    max_payload,
    message_hash,
    signed_content,
)
from tests.cddl import Container, Name, Schema
from tests.reference import hashed

SCHEMA = Schema(Path(__file__).parents[1] / "spec" / "messages.cddl")
PEERS = 64  # of the run whose frames these tests decode

uints = st.integers(0, 2**32 - 1)
peers = parts = st.integers(0, 1023)
phases = st.integers(0, 4)
hashes = st.binary(min_size=32, max_size=32)
hashes_or_none = hashes | st.just(b"")
octets = st.binary(max_size=100)
peer_lists = st.lists(peers, max_size=5).map(tuple)
claims = st.builds(Claim, st.sampled_from(ClaimKind), peers, parts, hashes_or_none)
bodies: st.SearchStrategy[Body] = st.one_of(
    st.builds(Commit, uints, hashes, st.lists(hashes, max_size=4).map(tuple), hashes, hashes, hashes),
    st.builds(Reduce, uints, hashes, hashes_or_none),
    st.builds(Reveal, uints, hashes, hashes, hashes),
    st.builds(Validate, uints, hashes, octets, octets, st.none() | claims),
    st.builds(Accuse, uints, hashes, hashes, hashes, st.none() | claims),
    st.builds(Enter, uints, phases),
    st.builds(Publish, uints, parts),
    st.builds(Need, uints, peer_lists),
    st.builds(Late, uints, phases, peers, st.integers(-1, 1023)),
    st.builds(Vote, uints, phases, peers, hashes, peers, peer_lists),
    st.builds(NoVerdict, uints, peers, hashes),
    st.builds(Epoch, uints, hashes, peer_lists, peer_lists),
    st.builds(Stay, uints, hashes, peer_lists, st.booleans()),
)
payloads = st.builds(encode_payload, uints, bodies)
signatures = st.binary(min_size=64, max_size=64)
messages = st.builds(make_envelope, peers, payloads, signatures)
envelopes = messages | st.builds(make_envelope, peers, st.binary(min_size=1, max_size=9), signatures)
envelope_lists = st.lists(envelopes, max_size=3).map(tuple)
class_signatures = st.lists(st.tuples(peers, signatures), max_size=3).map(tuple)


@st.composite
def chains(draw: st.DrawFn) -> Chain:
    shown, signed = draw(envelope_lists), draw(class_signatures)
    if draw(st.booleans()):
        return Chain(draw(uints), CommitClass(draw(uints), draw(hashes)), Certificate(shown), signed)
    klass = GuiltyClass(draw(st.sampled_from(["guilty", "ban"])), draw(peers))
    evidence = Evidence(draw(st.sampled_from(EvidenceKind)), klass.peer, shown)
    return Chain(draw(uints), klass, evidence, signed)


polls = st.builds(Poll, uints, uints, st.integers(0, 8), hashes_or_none, st.booleans())
pulls = st.builds(Pull, uints, uints, phases) | polls
frames: st.SearchStrategy[Frame] = st.one_of(envelopes, chains(), pulls)


def frame_or_refusal(data: bytes) -> Frame | None:
    """Whatever comes, it is a frame or a WireError: nothing else may happen."""
    try:
        return decode_frame(data, PEERS)
    except WireError:
        return None


# -- round trips ----------------------------------------------------------------------------------------


@pytest.mark.shows("MSG-1")
@given(epoch=uints, author=peers, body=bodies)
def test_every_message_survives_the_wire(epoch: int, author: int, body: Body) -> None:
    payload = encode_payload(epoch, body)
    assert decode_payload(author, payload) == Message(epoch, author, body)
    assert make_envelope(author, payload, bytes(64)).message == Message(epoch, author, body)


@pytest.mark.shows("MSG-1")
@given(frame=frames)
def test_every_frame_survives_the_wire(frame: Frame) -> None:
    assert decode_frame(encode_frame(frame), PEERS) == frame


VOTE = Vote(7, 4, 3, bytes(range(32)), 2, (5,))
VOTE_HEX = (
    "a8"  # a map of eight, shorter keys first
    "646b696e6464766f7465"  # kind: "vote"
    "647374657007"  # step: 7
    "65636c61696d5820000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
    "6565706f636801"  # epoch: 1
    "666775696c747902"  # guilty: 2
    "6672616973656404"  # raised: 4, in ACCUSE
    "676163637573657203"  # accuser: 3
    "6b6163636f6d706c696365738105"  # accomplices: [5]
)


@pytest.mark.shows("MSG-1")
def test_the_bytes_of_a_vote_never_change() -> None:
    assert encode_payload(1, VOTE).hex() == VOTE_HEX
    assert encode_frame(Pull(1, 2, 3)).hex() == "846470756c6c010203"
    assert encode_frame(Poll(1, 2, 8)).hex() == "8664706f6c6c01020840f4"


@pytest.mark.shows("MSG-6")
@given(author=peers, payload=payloads, one=signatures, other=signatures)
def test_a_messages_hash_covers_author_and_payload_but_no_signature(
    author: int, payload: bytes, one: bytes, other: bytes
) -> None:
    assert message_hash(author, payload) == hashed("message hash", struct.pack("<I", author), payload)
    assert make_envelope(author, payload, one).hash == make_envelope(author, payload, other).hash


@pytest.mark.shows("MSG-2")
def test_what_is_signed_names_its_domain_and_the_run() -> None:
    run, payload = bytes(range(32)), b"payload"
    assert signed_content(run, payload) == b"btard 1 message" + run + payload
    classes: list[Class] = [
        GuiltyClass("guilty", 3),
        GuiltyClass("ban", 3),
        GuiltyClass("ban", 4),
        CommitClass(3, bytes(32)),
    ]
    contents = {class_content(run, epoch, klass) for klass in classes for epoch in (0, 1)}
    assert len(contents) == 8
    assert all(content.startswith(b"btard 1 class" + run) for content in contents)


# -- the schema -----------------------------------------------------------------------------------------


@pytest.mark.shows("MSG-3")
def test_code_and_schema_have_the_same_messages_with_the_same_keys() -> None:
    choice = SCHEMA.rules["payload"]
    described = {}
    for option in choice.options:
        rule = SCHEMA.resolve(option)
        assert isinstance(rule, Container)
        described[option.name] = {entry.key for entry in SCHEMA.fields(rule)}
        kind = next(entry.type for entry in SCHEMA.fields(rule) if entry.key == "kind")
        assert kind.value == option.name
    assert described == {kind: {"kind", "epoch", *fields} for kind, fields in FIELDS.items()}


@pytest.mark.shows("MSG-1", "MSG-3")
@given(frame=st.one_of(messages, pulls, chains()))
def test_what_the_code_encodes_is_in_the_schema(frame: Frame) -> None:
    if isinstance(frame, Chain):
        assume(all(envelope.message for envelope in frame.object.envelopes))
    assert SCHEMA.matches(Name("frame"), cbor2.loads(encode_frame(frame)))


def class_fits_its_object(record: list[Any]) -> bool:
    """Certificates prove that a step is certified, everything else that a peer is guilty."""
    return record[0] != "chain" or bool(record[2][0] == "commit") == bool(record[3] == "certificate")


@pytest.mark.shows("MSG-1", "MSG-3")
@given(record=SCHEMA.values(Name("frame")))
def test_what_is_in_the_schema_the_code_decodes(record: list[Any]) -> None:
    data = cbor2.dumps(record, canonical=True)
    if class_fits_its_object(record):
        frame = decode_frame(data, PEERS)
        assert encode_frame(frame) == data
        assert not isinstance(frame, Envelope) or frame.message is not None
    else:
        assert frame_or_refusal(data) is None


CLAIM = {"kind": "scalars", "accused": 1, "part": 2, "object": bytes(32)}
PROBES: list[Any] = [
    *(0, 1, 4, 5, 1023, 1024, 2**32 - 1, 2**32, 2**64, -1, -(2**64)),
    *(True, False, None, 1.0, math.nan, math.inf, cbor2.undefined, cbor2.CBORSimpleValue(99)),
    *("", "gradient", "scalars", "aggregat", "commit", "vote", "guilty", "é"),
    *(b"", b"1", bytes(31), bytes(32), bytes(33), bytes(64), bytes(65), b"gradient"),
    *([], [0], [1023], [1024], [True], [bytes(32)], [bytes(31)], [[]], ["commit", 0, bytes(32)]),
    *({}, CLAIM, {**CLAIM, "part": 1024}, {**CLAIM, "kind": "vote"}, {**CLAIM, "object": bytes(9)}),
    *({**CLAIM, "more": 0}, {"kind": "scalars", "accused": 1, "part": 2}, {b"kind": 1}),
]


@pytest.mark.refuses("MSG-1", "MSG-3")
@settings(max_examples=200)
@given(payload=payloads, data=st.data())
def test_a_payload_decodes_exactly_if_the_schema_admits_it(payload: bytes, data: st.DataObject) -> None:
    record = cbor2.loads(payload)
    key = data.draw(st.sampled_from([*sorted(record), "surplus"]))
    if data.draw(st.booleans()) or key == "surplus":
        record[key] = data.draw(st.sampled_from(PROBES))
    else:
        del record[key]
    changed = cbor2.dumps(record, canonical=True)
    admitted = SCHEMA.matches(Name("payload"), record)
    assert (make_envelope(0, changed, bytes(64)).message is not None) == admitted


@pytest.mark.refuses("MSG-1")
@settings(max_examples=200)
@given(frame=frames, data=st.data())
def test_a_frame_with_a_wrong_element_is_refused(frame: Frame, data: st.DataObject) -> None:
    record = cbor2.loads(encode_frame(frame))
    place, depth = record, data.draw(st.integers(0, 3))
    index = data.draw(st.integers(0, len(place) - 1))
    while depth and isinstance(place[index], list) and place[index]:
        place, depth = place[index], depth - 1
        index = data.draw(st.integers(0, len(place) - 1))
    place[index] = data.draw(st.sampled_from(PROBES))
    changed = cbor2.dumps(record, canonical=True)
    decoded = frame_or_refusal(changed)
    assert decoded is None or encode_frame(decoded) == changed


# -- one encoding only ----------------------------------------------------------------------------------


@pytest.mark.refuses("MSG-1")
@settings(max_examples=120)
@given(frame=frames, data=st.data())
def test_a_changed_byte_is_refused_or_means_something_else(frame: Frame, data: st.DataObject) -> None:
    original = encode_frame(frame)
    index = data.draw(st.integers(0, len(original) - 1))
    changed = bytearray(original)
    changed[index] ^= data.draw(st.integers(1, 255))
    decoded = frame_or_refusal(bytes(changed))
    assert decoded is None or (encode_frame(decoded) == changed and decoded != frame)


@pytest.mark.refuses("MSG-1")
def test_every_bit_of_one_payload_counts() -> None:
    payload = encode_payload(1, VOTE)
    for bit in range(8 * len(payload)):
        changed = bytearray(payload)
        changed[bit // 8] ^= 1 << bit % 8
        message = make_envelope(0, bytes(changed), bytes(64)).message
        assert message is None or encode_payload(message.epoch, message.body) == changed


@pytest.mark.refuses("MSG-1")
@given(frame=frames, data=st.data())
def test_cut_or_extended_frames_are_refused(frame: Frame, data: st.DataObject) -> None:
    original = encode_frame(frame)
    assert frame_or_refusal(original[: data.draw(st.integers(0, len(original) - 1))]) is None
    assert frame_or_refusal(original + data.draw(st.binary(min_size=1, max_size=9))) is None
    assert frame_or_refusal(original + original) is None


def _head(major: int, argument: int, width: int) -> bytes:
    """A CBOR head with its argument in ``width`` bytes, or in as few as it fits where that is more."""
    least = 0 if argument < 24 else next(size for size in (1, 2, 4, 8) if argument < 256**size)
    width = max(width, least)
    if width == 0:
        return bytes([major << 5 | argument])
    return bytes([major << 5 | 24 + (1, 2, 4, 8).index(width)]) + argument.to_bytes(width, "big")


def loose(value: Any, draw: Callable[[int], int]) -> bytes:
    """Encode in one of the many ways that CBOR admits; ``draw(k)`` in 0..k-1 chooses, 0 the canonical one."""
    width = (0, 1, 2, 4, 8)[draw(5)]
    match value:
        case None:
            return b"\xf6"
        case int():
            kind = draw(3)
            if kind == 1:
                return b"\xfb" + struct.pack(">d", float(value))
            if kind == 2:
                return b"\xc2" + loose(value.to_bytes(8, "big"), lambda _: 0)
            return _head(0, value, width)
        case bytes() | str():
            content, major = (value.encode(), 3) if isinstance(value, str) else (value, 2)
            if draw(2):
                middle = len(content) // 2
                pieces = [content[:middle], content[middle:]]
                return (
                    bytes([major << 5 | 31]) + b"".join(_head(major, len(p), 0) + p for p in pieces) + b"\xff"
                )
            return _head(major, len(content), width) + content
        case list():
            items = b"".join(loose(item, draw) for item in value)
            return b"\x9f" + items + b"\xff" if draw(2) else _head(4, len(value), width) + items
        case dict():
            keys = sorted(value, key=lambda key: (len(key), key))
            if draw(2):
                keys.reverse()
            if draw(2):
                keys.append(keys[0])  # twice
            items = b"".join(loose(key, draw) + loose(value[key], draw) for key in keys)
            return b"\xbf" + items + b"\xff" if draw(2) else _head(5, len(keys), width) + items
    raise TypeError(f"nothing of this protocol: {value!r}")


@pytest.mark.refuses("MSG-1")
@settings(max_examples=120)
@given(frame=frames, data=st.data())
def test_only_the_canonical_encoding_of_a_frame_is_read(frame: Frame, data: st.DataObject) -> None:
    record = cbor2.loads(encode_frame(frame))
    lazy = st.integers(0, 20)  # now and then another form than the canonical
    encoded = loose(record, lambda k: max(0, data.draw(lazy) - 21 + k))
    assert (frame_or_refusal(encoded) is not None) == (encoded == encode_frame(frame))


@pytest.mark.refuses("MSG-1", "MSG-3")
@settings(max_examples=120)
@given(payload=payloads, data=st.data())
def test_only_the_canonical_encoding_of_a_payload_is_a_message(payload: bytes, data: st.DataObject) -> None:
    lazy = st.integers(0, 20)
    encoded = loose(cbor2.loads(payload), lambda k: max(0, data.draw(lazy) - 21 + k))
    assert (make_envelope(0, encoded, bytes(64)).message is not None) == (encoded == payload)


# -- hostile bytes --------------------------------------------------------------------------------------


@pytest.mark.refuses("MSG-1")
@settings(max_examples=300)
@given(data=st.binary(max_size=64))
def test_random_bytes_do_no_harm(data: bytes) -> None:
    frame = frame_or_refusal(data)
    assert frame is None or encode_frame(frame) == data
    message = make_envelope(0, data, bytes(64)).message
    assert message is None or encode_payload(message.epoch, message.body) == data


any_cbor = st.recursive(
    st.sampled_from(PROBES) | st.integers(-(2**64), 2**64 - 1) | st.floats() | st.text(max_size=9) | octets,
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=9), inner, max_size=6),
)


@pytest.mark.refuses("MSG-1")
@settings(max_examples=50)
@given(value=any_cbor, first=st.sampled_from(["message", "pull", "chain"]), rest=st.lists(any_cbor, max_size=5))
def test_any_cbor_is_a_frame_or_refused(value: Any, first: str, rest: list[Any]) -> None:
    for record in (value, [first, value, *rest]):
        data = cbor2.dumps(record, canonical=True)
        frame = frame_or_refusal(data)
        assert frame is None or encode_frame(frame) == data


KNOWN_TAGS = [*range(60), 100, 256, 258, 260, 261, 1004, 1040, 43000, 55799, 2**16, 2**32, 2**64 - 1]
IN_TAGS: list[Any] = [0, 1.0, "1", "2020-01-01T00:00:00Z", b"\x01", bytes(4), bytes(16), [], [1, 2], {}, None]


@pytest.mark.refuses("MSG-1")
@pytest.mark.parametrize("tag", KNOWN_TAGS)
def test_no_tag_is_read(tag: int) -> None:
    for value in IN_TAGS:
        tagged = _head(6, tag, 0) + cbor2.dumps(value)
        for data in (tagged, b"\x84\x64pull" + tagged + b"\x00\x00", b"\x84\x64pull\x00\x00" + tagged):
            assert frame_or_refusal(data) is None
        assert make_envelope(0, b"\xa1\x64kind" + tagged, bytes(64)).message is None


BOMB = "d81c8a" + "00" * 10  # shareable [0] * 10, then ten references to the array before, and so on
BOMB += "".join(f"d81c8a{f'd81d{level:02x}' * 10}" for level in range(20))

HOSTILE = {
    "nothing": "",
    "cycle": "d81c81d81d00",
    "cycle within a frame": "846470756c6cd81c81d81d000000",
    "billion laughs": f"95{BOMB}",
    "string references": "d9010083646b696e64d81900d81900",
    "bignum": "c2581f" + "ff" * 31,
    "bignum in a frame": "846470756c6cc241010000",
    "fraction by zero": "d81e820100",
    "decimal that is huge": "c4821b7fffffffffffffff01",
    "date beyond all dates": "c1fb7fefffffffffffff",
    "regular expression": "d82361282828",
    "NaN": "846470756c6c0000f97e00",
    "NaN with a payload": "846470756c6c0000fb7ff8000000000001",
    "infinity": "846470756c6c0000f97c00",
    "bool for int": "846470756c6c0000f5",
    "undefined": "846470756c6c0000f7",
    "simple value": "846470756c6c0000f8ff",
    "simple value in a wrong form": "846470756c6c0000f814",
    "text for bytes": "84676d657373616765006161" + "7840" + "61" * 64,
    "broken UTF-8": "8462c328000000",
    "surrogate": "8463eda080000000",
    "integer as key": "a10000",
    "array as key": "a18000",
    "map as key": "a1a000",
    "one key twice": "a2616100616100",
    "break alone": "ff",
    "reserved head": "1c",
    "array without end": "9f",
    "array of 2**64 - 1": "9bffffffffffffffff",
    "array of 2**32 - 1": "9affffffff",
    "map of 2**32 - 1": "baffffffff",
    "bytes of 2**63 - 1": "5b7fffffffffffffff",
    "text of 2**63 - 1": "7b7fffffffffffffff",
    "payload of 2**31 - 1": "84676d657373616765005a7fffffff",
    "envelopes without number": "8665636861696e0082666775696c747900646c6174659affffffff",
}


@pytest.mark.refuses("MSG-1")
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_bytes_are_refused_and_cost_little(name: str) -> None:
    data = bytes.fromhex(HOSTILE[name])
    tracemalloc.start()
    try:
        assert frame_or_refusal(data) is None
        assert make_envelope(0, data or b"\x00", bytes(64)).message is None
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2**20


@pytest.mark.refuses("MSG-1", "MSG-4")
@pytest.mark.parametrize("head", [b"\x81", b"\xa1\x60", b"\x82\x00", b"\xc2", b"\xd8\x1c\x81", b"\x9f"])
def test_deep_nesting_is_refused(head: bytes) -> None:
    for depth in (9, 1000, 10**6):
        data = (head * depth)[: max_frame(1024)] + b"\x00"
        with pytest.raises(WireError):
            decode_frame(data, 1024)
        assert make_envelope(0, data, bytes(64)).message is None


@pytest.mark.refuses("MSG-4")
def test_a_frame_full_of_small_things_is_refused() -> None:
    """The worst that fits: a million elements where there may be a thousand."""
    many = max_frame(1024) - 100
    for before, after in ((b"\x86\x65chain\x00\x82\x66guilty\x00\x64late", b"\x80"), (b"", b"")):
        with pytest.raises(WireError):
            decode_frame(before + _head(4, many, 0) + bytes(many) + after, 1024)


# -- sizes ----------------------------------------------------------------------------------------------

TOP = 2**32 - 1
HASH = b"\xff" * 32


def largest_messages(n: int) -> list[Body]:
    """Return the largest that an honest peer signs among n members, of every kind."""
    everybody = tuple(range(1024 - n, 1024))
    return [
        Commit(TOP, HASH, (HASH,) * n, HASH, HASH, HASH),
        Reduce(TOP, HASH, HASH),
        Reveal(TOP, HASH, HASH, HASH),
        Validate(TOP, HASH, b"\xff" * 512 * n, b"\xff" * 8 * n, Claim(ClaimKind.GRADIENT, 1023, 0, b"")),
        Accuse(TOP, HASH, HASH, HASH, Claim(ClaimKind.NONFINITE, 1023, 1023, HASH)),
        Enter(TOP, 4),
        Publish(TOP, 1023),
        Need(TOP, everybody[-faults(n) :]),
        Late(TOP, 4, 1023, 1023),
        Vote(TOP, 4, 1023, HASH, 1023, everybody[-faults(n) :]),
        NoVerdict(TOP, 1023, HASH),
        Epoch(TOP, HASH, everybody, everybody),
        Stay(TOP, HASH, everybody, True),
    ]


def envelope_of(body: Body) -> Envelope:
    return make_envelope(1023, encode_payload(TOP, body), b"\xff" * 64)


SIZES = [3, 4, 5, 7, 16, 61, 256, 1023, 1024]


@pytest.mark.shows("MSG-4")
@pytest.mark.parametrize("n", SIZES)
def test_honest_messages_fit_into_a_frame(n: int) -> None:
    bodies = largest_messages(n)
    assert [body.kind for body in bodies] == list(FIELDS)
    for body in bodies:
        envelope = envelope_of(body)
        assert len(envelope.payload) <= max_payload(n)
        data = encode_frame(envelope)
        assert len(data) <= max_frame(n)
        assert decode_frame(data, n) == envelope


@pytest.mark.shows("MSG-4")
@pytest.mark.parametrize("n", SIZES)
def test_whatever_proves_a_fault_fits_into_a_frame(n: int) -> None:
    """With the largest payloads that a cheat can send, and the signatures of all members."""
    _, _, _, report, accuse, _, _, _, late, vote, noverdict, *_ = largest_messages(n)
    anything = make_envelope(1023, b"\xff" * max_payload(n), b"\xff" * 64)
    shown: dict[EvidenceKind | None, list[Envelope]] = {
        EvidenceKind.EQUIVOCATION: [anything] * 2,
        EvidenceKind.MALFORMED: [anything],
        EvidenceKind.OPENING: [anything] * 2,
        EvidenceKind.LATE: [envelope_of(late)] * n,
        EvidenceKind.VERDICT: [envelope_of(report), *[envelope_of(vote)] * quorum(n)],
        EvidenceKind.NOVERDICT: [envelope_of(accuse), *[envelope_of(noverdict)] * n],
        None: [envelope_of(Accuse(TOP, HASH, HASH, HASH, None))] * n,
    }
    assert set(shown) == {*EvidenceKind, None}
    for kind, envelopes in shown.items():
        klass = CommitClass(TOP, HASH) if kind is None else GuiltyClass("guilty", 1023)
        proof = tuple(envelopes)
        thing = Certificate(proof) if kind is None else Evidence(kind, 1023, proof)
        chain = Chain(TOP, klass, thing, ((1023, b"\xff" * 64),) * n)
        data = encode_frame(chain)
        assert len(data) <= max_frame(n)
        assert decode_frame(data, n) == chain


@pytest.mark.refuses("MSG-4")
@pytest.mark.parametrize("n", SIZES)
def test_what_is_too_large_is_dropped_unread(n: int) -> None:
    whole = encode_frame(make_envelope(0, b"\xff" * max_payload(n), bytes(64)))
    assert isinstance(decode_frame(whole, n), Envelope)
    with pytest.raises(WireError, match="at most"):
        decode_frame(b"\xff" * (max_frame(n) + 1), n)
    with pytest.raises(WireError, match="byte string of"):
        decode_frame(encode_frame(make_envelope(0, b"\xff" * (max_payload(n) + 1), bytes(64))), n)
    with pytest.raises(WireError, match="at most"):
        decode_payload(0, b"\xff" * (max_payload(1024) + 1))
