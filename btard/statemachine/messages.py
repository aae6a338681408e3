"""Messages of the protocol: what a peer signs, and the unsigned frames that carry it (spec MSG).

Peers are named by their index in the genesis roster, vectors by the digest of their bytes. Nothing here
touches bytes on the wire: `btard.wire` does.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar, Literal

from attrs import frozen

from btard.statemachine.table import Phase

Digest = bytes  # 32 bytes
SlotKey = tuple[str | int, ...]


class ClaimKind(StrEnum):
    """What an accuser says the accused did (spec VER)."""

    GRADIENT = "gradient"
    SCALARS = "scalars"
    NONFINITE = "nonfinite"
    AGGREGATE = "aggregate"
    VALIDATOR = "validator"


@frozen
class Claim:
    """One accusation; ``part`` is meaningless for a gradient claim and 0 there.

    ``object`` names the published bulk that it rests on, empty where it needs none.
    """

    kind: ClaimKind
    accused: int
    part: int
    object: Digest


@frozen
class Commit:
    """Part hashes (none from who contributes nothing), two MPRNG commitments, digest of the model.

    ``late`` names, ascending, those on whom the author signed LATE in the step before (spec STP-20).
    """

    kind: ClassVar[str] = "commit"
    phase: ClassVar[Phase] = Phase.COMMIT
    step: int
    prev: Digest
    parts: tuple[Digest, ...]
    sketch_commitment: Digest
    election_commitment: Digest
    model: Digest
    late: tuple[int, ...] = ()


@frozen
class Reduce:
    """Hash of the aggregate of the author's part; empty in step 0."""

    kind: ClassVar[str] = "reduce"
    phase: ClassVar[Phase] = Phase.REDUCE
    step: int
    prev: Digest
    aggregate: Digest


@frozen
class Reveal:
    """Opening of the sketch value."""

    kind: ClassVar[str] = "reveal"
    phase: ClassVar[Phase] = Phase.REVEAL
    step: int
    prev: Digest
    value: bytes
    salt: bytes


@frozen
class Validate:
    """Sketch rows and norms of every part, little-endian float64; both empty from who has none.

    ``report`` is a validator's finding on a target that is no member any more (spec VER-17).
    """

    kind: ClassVar[str] = "validate"
    phase: ClassVar[Phase] = Phase.VALIDATE
    step: int
    prev: Digest
    sketches: bytes
    norms: bytes
    report: Claim | None = None


@frozen
class Accuse:
    """``ok`` (no claim) or one claim; in both cases the opening of the election value."""

    kind: ClassVar[str] = "accuse"
    phase: ClassVar[Phase] = Phase.ACCUSE
    step: int
    prev: Digest
    value: bytes
    salt: bytes
    claim: Claim | None


@frozen
class Enter:
    """The author has entered this phase."""

    kind: ClassVar[str] = "enter"
    step: int
    entered: int  # a Phase


@frozen
class Publish:
    """The author serves its committed part ``part`` to everybody."""

    kind: ClassVar[str] = "publish"
    step: int
    part: int


@frozen
class Need:
    """The contributors ``subjects`` did not serve their parts of the author's aggregate in time."""

    kind: ClassVar[str] = "need"
    step: int
    subjects: tuple[int, ...]


@frozen
class Late:
    """The author did not get ``subject``'s message of a phase, or its published part, in time."""

    kind: ClassVar[str] = "late"
    step: int
    late_phase: int  # a Phase
    subject: int
    part: int  # -1 for a phase message, else the part that was to be published


@frozen
class Vote:
    """The author judged what ``accuser`` raised in its message with hash ``claim`` and found ``guilty`` guilty.

    ``raised`` is the phase of that message: ACCUSE, or VALIDATE for a report. ``accomplices`` are the
    aggregators that looked away (spec VER-20), ascending.
    """

    kind: ClassVar[str] = "vote"
    step: int
    raised: int  # a Phase
    accuser: int
    claim: Digest
    guilty: int
    accomplices: tuple[int, ...] = ()


@frozen
class NoVerdict:
    """The author saw no quorum of equal votes on ``accuser``'s claim in time."""

    kind: ClassVar[str] = "noverdict"
    step: int
    accuser: int
    claim: Digest


@frozen
class Epoch:
    """Outcome of the epoch's SETTLE: the next epoch starts at step ``next_step`` with ``roster``."""

    kind: ClassVar[str] = "epoch"
    next_step: int
    view: Digest  # that the epoch's last certified step rests on, else the epoch's opening
    bans: tuple[int, ...]
    roster: tuple[int, ...]


@frozen
class Stay:
    """Those of ``roster`` go on together, whatever else members signed at the epoch's end (spec AGR-23).

    ``first``: the author signed no other record of the epoch's end before.
    """

    kind: ClassVar[str] = "stay"
    next_step: int
    view: Digest  # as in an EPOCH record
    roster: tuple[int, ...]
    first: bool


@frozen
class Bulk:
    """An object as a message refers to it: its digest, and its size in bytes from the part that it is.

    Both, since a cheat can name an object of another size that is here for another reason (spec NET-4).
    """

    digest: Digest
    size: int


PhaseBody = Commit | Reduce | Reveal | Validate | Accuse
Body = PhaseBody | Enter | Publish | Need | Late | Vote | NoVerdict | Epoch | Stay
BODIES: tuple[type[Body], ...] = (
    Commit, Reduce, Reveal, Validate, Accuse, Enter, Publish, Need, Late, Vote, NoVerdict, Epoch, Stay,
)  # fmt: skip
PHASE_BODIES: dict[Phase, type[PhaseBody]] = {
    Phase.COMMIT: Commit,
    Phase.REDUCE: Reduce,
    Phase.REVEAL: Reveal,
    Phase.VALIDATE: Validate,
    Phase.ACCUSE: Accuse,
}


def phase_slot(epoch: int, step: int, phase: Phase, author: int) -> SlotKey:
    """Name the slot of a phase message (spec MSG-5)."""
    return ("phase", epoch, step, int(phase), author)


def publish_slot(epoch: int, step: int, part: int, author: int) -> SlotKey:
    """Name the slot of a PUBLISH (spec MSG-5)."""
    return ("publish", epoch, step, part, author)


def need_slot(epoch: int, step: int, author: int) -> SlotKey:
    """Name the slot of a NEED (spec MSG-5)."""
    return ("need", epoch, step, author)


def slot_of(epoch: int, author: int, body: Body) -> SlotKey:
    """Name the slot for which this message is signed: no peer signs two for one slot (spec MSG-5)."""
    match body:
        case Commit() | Reduce() | Reveal() | Validate() | Accuse():
            return phase_slot(epoch, body.step, body.phase, author)
        case Enter():
            return ("enter", epoch, body.step, body.entered, author)
        case Publish():
            return publish_slot(epoch, body.step, body.part, author)
        case Need():
            return need_slot(epoch, body.step, author)
        case Late():
            return ("late", epoch, body.step, body.late_phase, body.subject, body.part, author)
        case Vote():
            return ("vote", epoch, body.step, body.raised, body.accuser, author)
        case NoVerdict():
            return ("noverdict", epoch, body.step, body.accuser, author)
        case Epoch():
            return ("epoch", epoch, author)
        case Stay():
            return ("stay", epoch, *body.roster, author)


def also_signed(slot: SlotKey, sender: int) -> SlotKey:
    """Name the place for another EPOCH record of the same author, one for each peer that passes it on."""
    return (*slot, sender)


@frozen
class Message:
    """What a payload says, and who signed it in which epoch."""

    epoch: int
    author: int
    body: Body

    @property
    def slot(self) -> SlotKey:
        """The slot that this message fills."""
        return slot_of(self.epoch, self.author, self.body)


@frozen
class Envelope:
    """A signed payload; ``message`` is None where the payload is no well-formed message (spec MSG-3).

    ``hash`` is the digest of the payload: what ``prev`` chains and votes refer to.
    """

    author: int
    payload: bytes
    signature: bytes
    hash: Digest
    message: Message | None


class EvidenceKind(StrEnum):
    """Why a peer loses its place (spec AGR)."""

    EQUIVOCATION = "equivocation"
    MALFORMED = "malformed"
    OPENING = "opening"
    LATE = "late"
    VERDICT = "verdict"
    NOVERDICT = "noverdict"


@frozen
class Evidence:
    """Signed messages that prove by themselves what ``subject`` did."""

    kind: EvidenceKind
    subject: int
    envelopes: tuple[Envelope, ...]


@frozen
class Certificate:
    """The ``ok`` of every member for one step, in roster order."""

    envelopes: tuple[Envelope, ...]


@frozen
class GuiltyClass:
    """``guilty(b)``, or ``ban(b)`` where the object bans."""

    type: Literal["guilty", "ban"]
    peer: int


@frozen
class CommitClass:
    """``commit(t, prev)``: step t is certified; ``prev`` fixes its transcript."""

    step: int
    prev: Digest


Class = GuiltyClass | CommitClass


@frozen
class Chain:
    """A class, one object that proves it, and members' signatures on the class (spec AGR)."""

    epoch: int
    klass: Class
    object: Evidence | Certificate
    signatures: tuple[tuple[int, bytes], ...]


@frozen
class Pull:
    """Ask the receiver for its whole set of messages of this phase; unsigned."""

    epoch: int
    step: int
    phase: int


@frozen
class Poll:
    """The author is in this epoch and phase, and ``next_step`` follows its last certified step; unsigned.

    ``record`` is the hash of its EPOCH message of the epoch, empty where there is none; ``away``: it came back
    from a crash not long ago, and may still sign one (spec AGR-25).
    """

    epoch: int
    next_step: int
    phase: int
    record: bytes = b""
    away: bool = False


Frame = Envelope | Chain | Pull | Poll
