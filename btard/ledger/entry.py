"""What a ledger holds: who is out, what members signed, what judges computed from (spec OPS-11, OPS-12)."""

from __future__ import annotations

from typing import Final

import cbor2
from attrs import frozen

from btard.hashing import digest
from btard.ledger.proof import order, shown
from btard.node.frozen import freeze, thaw
from btard.statemachine.compute import GradientCheck, Judge, PartCheck
from btard.statemachine.messages import Chain, Claim, Digest, Envelope, Evidence
from btard.wire import MAX_PEERS, WireError, decode_frame, encode_frame, make_envelope

UNREADABLE: Final = (cbor2.CBORError, WireError, ValueError, TypeError, LookupError, RecursionError)
"""What bytes that were not written here may raise."""


@frozen
class Entry:
    """One peer that lost its place in an epoch: ``kind`` is ``ban`` or ``remove``.

    ``epoch`` is the one whose members agreed on it, or in which they voted on a report; ``proof`` is None where
    this peer has only seen that the others agreed.
    """

    epoch: int
    peer: int
    kind: str
    proof: Evidence | None

    @property
    def key(self) -> bytes:
        """The entry's place in the ledger."""
        return _numbers(self.epoch, self.peer)

    def better(self, other: Entry | None) -> Entry:
        """Return whichever holds the proof that all ledgers are to hold (spec OPS-13)."""
        if other is None or other.proof is None:
            return self
        if self.proof is None or order(other.proof) < order(self.proof):
            return other
        return self

    def to_bytes(self) -> bytes:
        """Return the entry's bytes, the same at all peers that hold the same proof."""
        frame = b"" if self.proof is None else encode_frame(shown(self.epoch, self.kind, self.proof))
        return cbor2.dumps([self.epoch, self.peer, self.kind, frame], canonical=True)

    @classmethod
    def from_bytes(cls, data: bytes) -> Entry:
        """Return what `to_bytes` wrote. Raises one of UNREADABLE for anything else."""
        epoch, peer, kind, frame = cbor2.loads(data)
        proof = None
        if frame:
            chain = decode_frame(frame, MAX_PEERS)
            if not isinstance(chain, Chain) or not isinstance(chain.object, Evidence):
                raise ValueError("no proof")
            proof = chain.object
        return cls(int(epoch), int(peer), str(kind), proof)


@frozen
class Begins:
    """From where on a ledger is complete, if not from the run's beginning (spec OPS-20)."""

    epoch: int
    step: int

    def to_bytes(self) -> bytes:
        """Return its bytes."""
        return cbor2.dumps([self.epoch, self.step], canonical=True)

    @classmethod
    def from_bytes(cls, data: bytes) -> Begins:
        """Return what `to_bytes` wrote. Raises one of UNREADABLE for anything else."""
        epoch, step = cbor2.loads(data)
        return cls(int(epoch), int(step))


@frozen
class Judgement:
    """What a judge computed from (spec OPS-12).

    ``envelopes`` are the signed messages that the request follows from; ``objects`` the vectors that it names,
    as far as they were here; ``model`` the parameters before the target's step, for a gradient.
    """

    request: Judge
    envelopes: tuple[Envelope, ...]
    objects: tuple[Digest, ...]
    model: Digest | None

    @property
    def key(self) -> bytes:
        """Its place in the ledger: one judgement serves all who raised the same claim."""
        return judgement_key(self.request.epoch, self.request.step, self.request.raised, self.request.claim)

    def to_bytes(self) -> bytes:
        """Return its bytes."""
        record = [freeze(self.request), pack_envelopes(self.envelopes), list(self.objects), self.model]
        return cbor2.dumps(record, canonical=True)

    @classmethod
    def from_bytes(cls, data: bytes) -> Judgement:
        """Return what `to_bytes` wrote. Raises one of UNREADABLE for anything else."""
        request, messages, objects, model = cbor2.loads(data)
        judge = thaw(request)
        if not isinstance(judge, Judge):
            raise ValueError("not a request to judge")
        return cls(judge, unpack_envelopes(messages), tuple(objects), model)


def judgement_key(epoch: int, step: int, raised: int, claim: Claim) -> bytes:
    """Return the place of a judgement in the ledger."""
    return digest("judgement", _numbers(epoch, step, raised), freeze(claim))


def objects_of(request: Judge) -> tuple[Digest, ...]:
    """Return the vectors that a request names, each once, sorted."""
    check = request.check
    if isinstance(check, PartCheck):
        return tuple(sorted({check.aggregate, *check.objects}))
    return tuple(sorted(set(check.aggregates))) if isinstance(check, GradientCheck) else ()


def target_step(request: Judge) -> int | None:
    """Return the step whose gradient a request asks for; None where it asks for none."""
    check = request.check
    if isinstance(check, PartCheck):
        return None
    return (check if isinstance(check, GradientCheck) else check.target).work.step


def pack_envelopes(envelopes: tuple[Envelope, ...]) -> bytes:
    """Return the bytes of signed messages."""
    return cbor2.dumps([[env.author, env.payload, env.signature] for env in envelopes], canonical=True)


def unpack_envelopes(data: bytes) -> tuple[Envelope, ...]:
    """Return what `pack_envelopes` wrote. Raises one of UNREADABLE for anything else."""
    return tuple(make_envelope(*record) for record in cbor2.loads(data))


def _numbers(*values: int) -> bytes:
    return b"".join(value.to_bytes(4, "big") for value in values)
