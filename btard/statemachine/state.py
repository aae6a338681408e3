"""The state of one peer: frozen values that hash and compare."""

from __future__ import annotations

from attrs import field, frozen
from rpds import HashTrieMap, HashTrieSet

from btard.statemachine.compute import Judged
from btard.statemachine.effects import Timer
from btard.statemachine.election import Pair
from btard.statemachine.messages import (
    Bulk,
    Certificate,
    Chain,
    Claim,
    Class,
    CommitClass,
    Digest,
    Envelope,
    Epoch,
    Evidence,
    Frame,
    Poll,
    SlotKey,
    Stay,
)
from btard.statemachine.randomness import Secrets
from btard.statemachine.table import Phase

NOTHING: Digest = bytes(32)


@frozen
class Record:
    """The last step with contributors (or step 0), as long as the next ones may refer to it.

    The tuples over contributors are in roster order; ``sketches`` and ``norms`` are as broadcast.
    ``certified`` and ``certified_value`` are number and election value of the latest certified step, which may
    be a closing step.
    """

    step: int
    certified: int
    roster: tuple[int, ...]
    aggregators: tuple[int, ...]
    contributors: tuple[int, ...]
    parts: tuple[tuple[Digest, ...], ...]
    aggregates: tuple[Digest, ...]
    sketches: tuple[bytes, ...]
    norms: tuple[bytes, ...]
    sketch_value: Digest
    seed_value: Digest  # election value of the step before: the contributors' seeds came from it
    election_value: Digest
    certified_value: Digest


@frozen
class Alarm:
    """A false alarm of verification 3: the contributors' distances were true, and the aggregate right."""

    step: int
    norm: float  # the median of them


@frozen
class Before:
    """What a certified step replaced, in case that the others go on without that step (spec AGR-22)."""

    last: Record | None
    certificate: tuple[CommitClass, Certificate] | None
    alarms: HashTrieMap[int, Alarm]
    drifts: HashTrieMap[int, int]
    said_late: tuple[tuple[int, frozenset[tuple[int, int]]], ...]


@frozen
class Passage:
    """How an epoch ended: what brings whoever missed it into the next one (spec AGR-20)."""

    records: tuple[Envelope, ...]  # equal records of the epoch's end, of enough members
    certificate: Chain | None  # of the epoch's last certified step
    guilty: tuple[Chain, ...]  # against those whom the record leaves out, as far as it is here


@frozen
class Halt:
    """Why the peer is halted; ``held``: whom the brake keeps in (spec AGR-24)."""

    reason: str
    held: frozenset[int] = frozenset()
    without: frozenset[int] = frozenset()  # whom the operator gave up (spec AGR-26)
    away: bool = False  # it halted after coming back from a crash (spec AGR-25)
    asked: int | None = None  # polls since the others went on without this peer, as far as is known


@frozen
class Step:
    """What a peer knows of the step that it is in, in this epoch."""

    number: int
    phase: Phase = Phase.COMMIT  # the last of the five that was entered
    aggregators: tuple[int, ...] = ()
    contributors: tuple[int, ...] = ()  # until COMMIT is left: whoever is to contribute
    trains: bool = False  # gradients are contributed: neither step 0 nor a closing step
    pairs: tuple[Pair, ...] = ()  # with both peers in the roster
    absent: tuple[Pair, ...] = ()  # whose target is out but not banned: a report is due
    drifted: tuple[int, ...] = ()  # whose COMMIT carried another model than the certified one
    secrets: Secrets | None = None
    own_parts: tuple[Digest, ...] = ()
    views: tuple[Digest, ...] = ()  # hash of each left phase's messages
    delivered: frozenset[int] = frozenset()
    asked: frozenset[str] = frozenset()  # computations of this step that were requested
    sketch_value: Digest = NOTHING
    aggregate_norms: tuple[float, ...] = ()
    disputed: tuple[int, ...] = ()
    alarmed: tuple[int, ...] = ()  # those disputed by verification 3 alone
    judging: HashTrieMap[Claim, Judged] = field(factory=HashTrieMap)  # finished judgements by claim
    pursued: frozenset[int] = frozenset()  # accusers whose claim is being judged or was


@frozen
class Settle:
    """The agreement that a freeze started: classes accepted so far, and rounds that have ended."""

    rounds: int = 0
    due: bool = False  # everybody can have applied the outcome's step
    accepted: HashTrieMap[Class, Chain] = field(factory=HashTrieMap)


@frozen
class State:
    """Everything that a peer remembers."""

    phase: Phase
    epoch: int
    rosters: tuple[tuple[int, ...], ...]  # by epoch
    first_step: int  # of the epoch
    opening: Digest  # prev of the epoch's first phase
    at: Step
    model_step: int  # all certified steps before this one are applied
    model_digest: Digest  # of the model that is here, drifted or not
    last: Record | None = None
    certificate: tuple[CommitClass, Certificate] | None = None  # the epoch's latest
    slots: HashTrieMap[SlotKey, Envelope] = field(factory=HashTrieMap)
    held: HashTrieMap[Bulk, int] = field(factory=HashTrieMap)  # and the last step that they belong to
    banned: tuple[int, ...] = ()
    alarms: HashTrieMap[int, Alarm] = field(factory=HashTrieMap)  # each aggregator's last
    drifts: HashTrieMap[int, int] = field(factory=HashTrieMap)  # member: certified step of its last drift
    said_late: tuple[tuple[int, frozenset[tuple[int, int]]], ...] = ()  # certified step: who said it of whom
    loading: Digest | None = None  # the certified model, while this peer has another one
    unapplied: tuple[int, tuple[Digest, ...]] | None = None  # step and aggregates that wait for it
    reports: tuple[tuple[int, int], ...] = ()  # step and author of those of the epoch being judged
    convicted: frozenset[int] = frozenset()  # former members banned by votes on a report
    served: HashTrieSet[tuple[int, SlotKey]] = field(factory=HashTrieSet)
    pulled: HashTrieSet[Timer] = field(factory=HashTrieSet)
    deferred: tuple[tuple[int, Frame], ...] = ()
    waiting: HashTrieMap[CommitClass, Chain] = field(factory=HashTrieMap)  # commit chains before a freeze
    evidence: HashTrieMap[int, Evidence] = field(factory=HashTrieMap)  # found while settling
    settle: Settle | None = None
    outcome: Epoch | None = None
    stays: HashTrieMap[tuple[int, int], Envelope] = field(factory=HashTrieMap)  # STAY by author and sender
    stayed: Stay | None = None  # the last that this peer signed in this epoch
    halted: Halt | None = None
    came_back: tuple[int, int] | None = None  # epoch and step, until one is certified that began later
    polls: HashTrieMap[int, Poll] = field(factory=HashTrieMap)  # of the epoch's halted members, each one's last
    answered: frozenset[int] = frozenset()  # whose poll was answered within the last delta
    passages: HashTrieMap[int, Passage] = field(factory=HashTrieMap)  # by epoch
    before: Before | None = None  # the epoch's latest certified step
    unexplained: frozenset[int] = frozenset()  # former members, until it is here why

    @property
    def roster(self) -> tuple[int, ...]:
        """The members of this epoch, in roster order."""
        return self.rosters[self.epoch]

    @property
    def election_value(self) -> Digest:
        """Election value of the last certified step; zeros before there is one."""
        return self.last.certified_value if self.last else NOTHING

    @property
    def following(self) -> int:
        """Number of the step after the last certified one."""
        return self.last.certified + 1 if self.last else 0

    @property
    def view(self) -> Digest:
        """View that the epoch's last certified step rests on, else the epoch's opening (spec AGR-14)."""
        return self.certificate[0].prev if self.certificate else self.opening

    @property
    def position(self) -> int:
        """Where the peer stands among the phases of all steps."""
        return 5 * self.at.number + int(self.at.phase)
