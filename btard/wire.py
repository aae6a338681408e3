"""Bytes of the protocol: deterministic CBOR, decoded strictly (spec MSG-1 to MSG-4, `spec/messages.cddl`).

Decoding never trusts its input: the size is capped first, tags, indefinite lengths and duplicate keys are
refused, every type and length is checked, and what was read must encode to the same bytes again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn

import cbor2

from btard.hashing import HASH_SIZE, digest
from btard.robust.encoding import NORM_SIZE, SKETCH_SIZE
from btard.statemachine.messages import (
    BODIES,
    Body,
    Certificate,
    Chain,
    Claim,
    ClaimKind,
    Class,
    CommitClass,
    Envelope,
    Evidence,
    EvidenceKind,
    Frame,
    GuiltyClass,
    Message,
    Poll,
    Pull,
)
from btard.statemachine.table import Phase

MAX_PEERS: Final = 1024
SIGNATURE_SIZE: Final = 64
_MAX_UINT: Final = 2**32 - 1
_MAX_DEPTH: Final = 8
_MOST_SHOWN: Final = MAX_PEERS + 1  # an accusation, and everybody's vote on it


class WireError(ValueError):
    """Bytes that are no frame, or a payload that is no message; the text names what is wrong."""


def max_frame(peers: int) -> int:
    """Return the largest admissible control frame in bytes among ``peers`` peers (spec MSG-4)."""
    return 16_384 + 2_048 * peers


def max_payload(peers: int) -> int:
    """Return the largest admissible payload in bytes among ``peers`` peers (spec MSG-4).

    Two payloads of this size and every member's signature fit into a frame: so whatever a cheat signs can be
    shown to others.
    """
    return 4_096 + 768 * peers


def _refuse_tag(*_: object) -> NoReturn:
    raise WireError("CBOR tag")


# cbor2 decodes these by itself, cycles and address types among them; its tag_hook sees only all others.
_TAGS: Final = (*range(6), *range(21, 41), 43, 52, 54, 100, 256, 258, 260, 261, 1004, 1040, 43000, 55799)
_REFUSED: Final = dict.fromkeys(_TAGS, _refuse_tag)


def parse_canonical(data: bytes, limit: int) -> Any:
    """Return plain CBOR data, or raise WireError unless ``data`` is its one canonical encoding."""
    if len(data) > limit:
        raise WireError(f"{len(data)} bytes, at most {limit} are allowed")
    try:
        value = cbor2.loads(
            data,
            tag_hook=_refuse_tag,
            semantic_decoders=_REFUSED,
            max_depth=_MAX_DEPTH,
            allow_indefinite=False,
            allow_duplicate_keys=False,
            strict_hashable_types=True,
        )
        canonical = cbor2.dumps(value, canonical=True)
    except (cbor2.CBORError, ValueError, TypeError, OverflowError, RecursionError, MemoryError) as error:
        raise WireError(f"no CBOR of this protocol: {error}") from error
    if canonical != data:
        raise WireError("not canonically encoded")
    return value


# -- what a field may hold ------------------------------------------------------------------------------

Check = Callable[[Any], Any]


def _uint(limit: int = _MAX_UINT) -> Check:
    def check(value: Any) -> int:
        if type(value) is not int or not 0 <= value <= limit:
            raise WireError(f"not an integer in 0..{limit}")
        return value

    return check


def _octets(least: int, most: int) -> Check:
    def check(value: Any) -> bytes:
        if type(value) is not bytes or not least <= len(value) <= most:
            raise WireError(f"not a byte string of {least}..{most} bytes")
        return value

    return check


def _many(item: Check, most: int) -> Check:
    def check(value: Any) -> tuple[Any, ...]:
        if type(value) is not list or len(value) > most:
            raise WireError(f"not an array of at most {most}")
        return tuple(item(entry) for entry in value)

    return check


def _record(value: Any, fields: Mapping[str, Check]) -> dict[str, Any]:
    if type(value) is not dict or value.keys() != fields.keys():
        raise WireError(f"not a map of exactly {', '.join(fields)}")
    return {name: _named(name, check, value[name]) for name, check in fields.items()}


def _named(name: str, check: Check, value: Any) -> Any:
    try:
        return check(value)
    except WireError as error:
        raise WireError(f"{name}: {error}") from error


_peer = _uint(MAX_PEERS - 1)
_part = _uint(MAX_PEERS - 1)
_hash = _octets(HASH_SIZE, HASH_SIZE)


def _hash_or_none(value: Any) -> bytes:
    result: bytes = _octets(0, HASH_SIZE)(value)
    if len(result) not in (0, HASH_SIZE):
        raise WireError(f"neither empty nor {HASH_SIZE} bytes")
    return result


def _flag(value: Any) -> bool:
    if type(value) is not bool:
        raise WireError("neither true nor false")
    return value


def _late_part(value: Any) -> int:
    return -1 if value is None else int(_part(value))


def _claim_kind(value: Any) -> ClaimKind:
    if type(value) is not str or value not in set(ClaimKind):
        raise WireError("no kind of claim")
    return ClaimKind(value)


_CLAIM: Final = {"kind": _claim_kind, "accused": _peer, "part": _part, "object": _hash_or_none}


def _claim(value: Any) -> Claim | None:
    return None if value is None else Claim(**_record(value, _CLAIM))


_step: Final = {"step": _uint()}
_phase_head: Final = {**_step, "prev": _hash}
_opening: Final = {"value": _hash, "salt": _hash}

FIELDS: Final[Mapping[str, Mapping[str, Check]]] = {
    "commit": {
        **_phase_head,
        "parts": _many(_hash, MAX_PEERS),
        "sketch_commitment": _hash,
        "election_commitment": _hash,
        "model": _hash,
        "late": _many(_peer, MAX_PEERS),
    },
    "reduce": {**_phase_head, "aggregate": _hash_or_none},
    "reveal": {**_phase_head, **_opening},
    "validate": {
        **_phase_head,
        "sketches": _octets(0, MAX_PEERS * SKETCH_SIZE),
        "norms": _octets(0, MAX_PEERS * NORM_SIZE),
        "report": _claim,
    },
    "accuse": {**_phase_head, **_opening, "claim": _claim},
    "enter": {**_step, "entered": _uint(4)},
    "publish": {**_step, "part": _part},
    "need": {**_step, "subjects": _many(_peer, MAX_PEERS)},
    "late": {**_step, "late_phase": _uint(4), "subject": _peer, "part": _late_part},
    "vote": {
        **_step,
        "raised": _uint(4),
        "accuser": _peer,
        "claim": _hash,
        "guilty": _peer,
        "accomplices": _many(_peer, MAX_PEERS),
    },
    "noverdict": {**_step, "accuser": _peer, "claim": _hash},
    "epoch": {
        "next_step": _uint(),
        "view": _hash,
        "bans": _many(_peer, MAX_PEERS),
        "roster": _many(_peer, MAX_PEERS),
    },
    "stay": {"next_step": _uint(), "view": _hash, "roster": _many(_peer, MAX_PEERS), "first": _flag},
}
_BODY: Final[Mapping[str, type[Body]]] = {body.kind: body for body in BODIES}


def _plain(value: Any) -> Any:
    """Turn a body's field into CBOR's plain types."""
    if isinstance(value, Claim):
        return {name: _plain(getattr(value, name)) for name in _CLAIM}
    if isinstance(value, tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, ClaimKind):
        return str(value)
    return value


def encode_payload(epoch: int, body: Body) -> bytes:
    """Return the bytes that the author of ``body`` signs, less domain and run id (spec MSG-2)."""
    record: dict[str, Any] = {"kind": body.kind, "epoch": epoch}
    for name in FIELDS[body.kind]:
        record[name] = _plain(getattr(body, name))
    if record.get("part") == -1:
        record["part"] = None
    return cbor2.dumps(record, canonical=True)


def decode_payload(author: int, payload: bytes) -> Message:
    """Return the message that a payload says; raise WireError where it is none (spec MSG-3)."""
    record = parse_canonical(payload, max_payload(MAX_PEERS))
    if type(record) is not dict:
        raise WireError("payload is no map")
    kind = record.pop("kind", None)
    if type(kind) is not str or kind not in FIELDS:
        raise WireError("no kind of message")
    epoch = _named("epoch", _uint(), record.pop("epoch", None))
    return Message(epoch, author, _BODY[kind](**_record(record, FIELDS[kind])))


def signed_content(run: bytes, payload: bytes) -> bytes:
    """Return what a message's signature covers: domain, run id, payload (spec MSG-2)."""
    return b"btard 1 message" + run + payload


def message_hash(author: int, payload: bytes) -> bytes:
    """Return the hash by which ``prev``, votes and logs name a message (spec MSG-6)."""
    return digest("message hash", author.to_bytes(4, "little"), payload)


def make_envelope(author: int, payload: bytes, signature: bytes) -> Envelope:
    """Return an envelope; its message is None where the payload is malformed."""
    try:
        message = decode_payload(author, payload)
    except WireError:
        message = None
    return Envelope(author, payload, signature, message_hash(author, payload), message)


def class_content(run: bytes, epoch: int, klass: Class) -> bytes:
    """Return what a member signs when it accepts a class (spec AGR-13)."""
    return b"btard 1 class" + run + cbor2.dumps([epoch, _class_record(klass)], canonical=True)


def _class_record(klass: Class) -> list[Any]:
    if isinstance(klass, GuiltyClass):
        return [klass.type, klass.peer]
    return ["commit", klass.step, klass.prev]


# -- frames ---------------------------------------------------------------------------------------------


def _envelope_record(envelope: Envelope) -> list[Any]:
    return [envelope.author, envelope.payload, envelope.signature]


def encode_frame(frame: Frame) -> bytes:
    """Return the canonical bytes of a frame."""
    match frame:
        case Envelope():
            record: list[Any] = ["message", *_envelope_record(frame)]
        case Pull():
            record = ["pull", frame.epoch, frame.step, frame.phase]
        case Poll():
            record = ["poll", frame.epoch, frame.next_step, frame.phase, frame.record, frame.away]
        case Chain():
            envelopes = [_envelope_record(envelope) for envelope in frame.object.envelopes]
            record = [
                "chain",
                frame.epoch,
                _class_record(frame.klass),
                str(frame.object.kind) if isinstance(frame.object, Evidence) else "certificate",
                envelopes,
                [list(signature) for signature in frame.signatures],
            ]
    return cbor2.dumps(record, canonical=True)


def decode_frame(data: bytes, peers: int) -> Frame:
    """Return the frame that ``data`` encodes; raise WireError where it is none (spec MSG-4)."""
    record = parse_canonical(data, max_frame(peers))
    match record:
        case ["message", *rest]:
            return _decode_envelope(rest, peers)
        case ["pull", epoch, step, phase]:
            return Pull(_uint()(epoch), _uint()(step), _uint(4)(phase))
        case ["poll", epoch, step, phase, signed, away]:
            at = _uint(int(Phase.HALTED))(phase)
            return Poll(_uint()(epoch), _uint()(step), at, _hash_or_none(signed), _flag(away))
        case ["chain", epoch, klass, kind, envelopes, signatures]:
            shown = _many(lambda envelope: _decode_envelope(envelope, peers), _MOST_SHOWN)(envelopes)
            return _decode_chain(_uint()(epoch), klass, kind, shown, signatures)
    raise WireError("no kind of frame")


def _decode_envelope(record: Any, peers: int) -> Envelope:
    if type(record) is not list or len(record) != 3:
        raise WireError("an envelope is [author, payload, signature]")
    payload = _octets(1, max_payload(peers))(record[1])
    return make_envelope(_peer(record[0]), payload, _octets(SIGNATURE_SIZE, SIGNATURE_SIZE)(record[2]))


def _decode_chain(epoch: int, klass: Any, kind: Any, shown: tuple[Envelope, ...], signatures: Any) -> Chain:
    signed = _many(_decode_signature, MAX_PEERS)(signatures)
    match klass:
        case ["guilty" | "ban" as type_, peer]:
            if type(kind) is not str or kind not in set(EvidenceKind):
                raise WireError("no kind of evidence")
            guilty = GuiltyClass(type_, _peer(peer))
            return Chain(epoch, guilty, Evidence(EvidenceKind(kind), guilty.peer, shown), signed)
        case ["commit", step, prev] if kind == "certificate":
            return Chain(epoch, CommitClass(_uint()(step), _hash(prev)), Certificate(shown), signed)
    raise WireError("no class")


def _decode_signature(record: Any) -> tuple[int, bytes]:
    if type(record) is not list or len(record) != 2:
        raise WireError("a class signature is [member, signature]")
    return _peer(record[0]), _octets(SIGNATURE_SIZE, SIGNATURE_SIZE)(record[1])
