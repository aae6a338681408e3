"""What a peer does: the outputs of `handle`, to be carried out in their order."""

from __future__ import annotations

from enum import StrEnum

from attrs import frozen

from btard.statemachine.compute import Request
from btard.statemachine.messages import Digest, Envelope, Evidence, Frame
from btard.statemachine.table import Phase

Timer = tuple[str | int, ...]


class Verdict(StrEnum):
    """What became of an incoming frame (spec MSG-8)."""

    ACCEPT = "accept"
    DEFER = "defer"
    IGNORE = "ignore"
    REJECT = "reject"


@frozen
class Judgement:
    """The verdict on the frame just received, and why; ``rule`` is empty where none was broken."""

    verdict: Verdict
    reason: str
    rule: str = ""


@frozen
class Persist:
    """Make this own message durable before anything that follows (spec MSG-7)."""

    envelope: Envelope


@frozen
class Send:
    """Send a frame to these peers."""

    to: tuple[int, ...]
    frame: Frame


@frozen
class Fetch:
    """Ask ``source`` for an object of ``size`` bytes, needed in ``step``."""

    source: int
    digest: Digest
    size: int
    step: int


@frozen
class FetchModel:
    """Ask ``source`` for the model before ``step``: an object as large as one's own (spec STP-13)."""

    source: int
    digest: Digest
    step: int


@frozen
class Drifted:
    """These members stand before ``step`` with another model than the certified one."""

    step: int
    peers: tuple[int, ...]


@frozen
class Offer:
    """Serve an object to ``to``, or to all members where that is None."""

    digest: Digest
    to: tuple[int, ...] | None


@frozen
class Discard:
    """Objects of steps before ``step`` are not needed any more."""

    step: int


@frozen
class Compute:
    """Have the backend compute this."""

    request: Request


@frozen
class SetTimer:
    """Fire ``timer`` after ``delay`` milliseconds."""

    timer: Timer
    delay: int


@frozen
class Entered:
    """The peer is in this phase now."""

    epoch: int
    step: int
    phase: Phase


@frozen
class Certified:
    """Step ``step`` is certified."""

    step: int


@frozen
class Accused:
    """A claim was delivered; ``reason`` says it in words."""

    step: int
    accuser: int
    accused: int
    reason: str


@frozen
class Expelled:
    """What became of one peer: ``kind`` is ``ban`` or ``remove``.

    ``applied`` is the step whose applied update holds what it was banned for; 0 where none does. ``epoch`` is
    the one whose members agreed on it, or voted on a report; ``evidence`` is what it rests on here.
    """

    peer: int
    step: int
    rule: str
    kind: str
    reason: str
    applied: int
    epoch: int
    evidence: Evidence


@frozen
class RosterChanged:
    """These are the members from now on; ``signed`` are the records that led there (spec AGR-15)."""

    epoch: int
    roster: tuple[int, ...]
    signed: tuple[Envelope, ...]


@frozen
class LeftOut:
    """``epoch`` ended without this peer: ``roster`` goes on, say the records ``signed`` (spec OPS-11)."""

    epoch: int
    roster: tuple[int, ...]
    signed: tuple[Envelope, ...]


@frozen
class Finished:
    """The last step is applied; ``digest`` is the model's."""

    digest: Digest


@frozen
class Released:
    """Nobody needs this peer any more; it may leave."""


@frozen
class Halted:
    """The peer signs nothing more until it can go on safely: why, and what to do, in a line (spec AGR-19)."""

    reason: str


@frozen
class Stopped:
    """The peer cannot go on safely: what is wrong and what to do, in a line."""

    reason: str


Effect = (
    Judgement
    | Persist
    | Send
    | Fetch
    | FetchModel
    | Drifted
    | Offer
    | Discard
    | Compute
    | SetTimer
    | Entered
    | Certified
    | Accused
    | Expelled
    | RosterChanged
    | LeftOut
    | Finished
    | Released
    | Halted
    | Stopped
)
