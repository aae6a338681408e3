"""What the state machine asks the numeric backend to compute, and what comes back.

A vector is named by its digest here; a request is self-contained, so that it can be computed at any time
and its result be checked against the request that it answers. Scalars travel as the little-endian float64
bytes that were broadcast.
"""

from __future__ import annotations

from attrs import frozen

from btard.statemachine.messages import Claim, Digest


@frozen
class Work:
    """The gradient of ``seed``, split into ``parts`` parts; ``step`` says at which model."""

    peer: int
    step: int
    seed: Digest
    parts: int


@frozen
class GradientCheck:
    """A target's contribution to a certified step: what it committed and broadcast (spec VER-1)."""

    work: Work
    committed: tuple[Digest, ...]
    aggregates: tuple[Digest, ...]
    sketch_value: Digest
    sketches: bytes
    norms: bytes
    aggregators: tuple[int, ...]


@frozen
class PartCheck:
    """One part of a step: inputs, aggregate and every contributor's scalars (spec VER-2 to VER-4).

    The tuples run over the contributors in roster order; ``sketches`` and ``norms`` hold each contributor's
    rows (512 bytes) and norm (8 bytes) for this part only.
    """

    part: int
    parts: int
    aggregator: int
    aggregate: Digest
    contributors: tuple[int, ...]
    objects: tuple[Digest, ...]
    sketch_value: Digest
    sketches: tuple[bytes, ...]
    norms: tuple[bytes, ...]


@frozen
class ValidatorCheck:
    """A validator's scalars for one part of its target's gradient (spec VER-5)."""

    validator: int
    part: int
    parts: int
    object: Digest
    sketch_value: Digest
    sketch: bytes
    norm: bytes
    target: GradientCheck


@frozen
class Prepare:
    """Compute the own gradient and recompute the target's; either may be None."""

    epoch: int
    step: int
    own: Work | None
    audit: Work | None


@frozen
class Prepared:
    """Digests of the own parts (none without a gradient), and 128 bytes of fresh entropy."""

    parts: tuple[Digest, ...]
    entropy: bytes


@frozen
class Aggregate:
    """CenteredClip of the contributors' parts ``objects``, in roster order."""

    epoch: int
    step: int
    part: int
    parts: int
    objects: tuple[Digest, ...]


@frozen
class Aggregated:
    """Digest of the aggregate."""

    digest: Digest


@frozen
class Sketch:
    """Sketch the own parts against the aggregates, or the recomputed gradient of ``audit``.

    ``report`` is the check of a target that is no member any more (spec VER-17).
    """

    epoch: int
    step: int
    sketch_value: Digest
    own: tuple[Digest, ...]
    audit: Work | None
    aggregates: tuple[Digest, ...]
    report: GradientCheck | None = None


@frozen
class Sketched:
    """Rows and norms to broadcast; the aggregates' norms in consensus arithmetic; whether to report."""

    sketches: bytes
    norms: bytes
    aggregate_norms: tuple[float, ...]
    report: bool = False


@frozen
class Verify:
    """Everything that this peer has to check before its ACCUSE."""

    epoch: int
    step: int
    own: PartCheck | None
    disputed: tuple[PartCheck, ...]
    audit: GradientCheck | None
    validators: tuple[ValidatorCheck, ...]


@frozen
class Verified:
    """Claims that the checks support, the disputed parts' first, in part and roster order."""

    claims: tuple[Claim, ...]


@frozen
class Judge:
    """Judge one claim from what was committed, broadcast and published.

    ``raised`` is the phase of ``accuser``'s message with the claim: VALIDATE for a report.
    """

    epoch: int
    step: int
    raised: int
    accuser: int
    claim: Claim
    check: PartCheck | GradientCheck | ValidatorCheck


ACCUSER = -1
"""In `Judged`: the claim is false, whoever raised it."""


@frozen
class Judged:
    """Who is guilty: a peer, or ACCUSER; None where the two recomputations of a gradient disagree.

    ``accomplices`` are the aggregators that looked away, ascending (spec VER-20).
    """

    guilty: int | None
    accomplices: tuple[int, ...] = ()


@frozen
class Apply:
    """Update the model with the certified aggregates of ``step``."""

    step: int
    aggregates: tuple[Digest, ...]


@frozen
class Applied:
    """Digest of parameters and optimizer state after the update."""

    digest: Digest


@frozen
class Save:
    """Keep the model before ``step``, whose digest is ``digest``, as an object to serve (spec STP-13)."""

    step: int
    digest: Digest


@frozen
class Saved:
    """Digest of the object."""

    digest: Digest


@frozen
class Load:
    """Take over the certified model before ``step`` from a fetched object (spec STP-13)."""

    step: int
    digest: Digest


@frozen
class Loaded:
    """Digest of the model that is in place now."""

    digest: Digest


Request = Prepare | Aggregate | Sketch | Verify | Judge | Apply | Save | Load
Result = Prepared | Aggregated | Sketched | Verified | Judged | Applied | Saved | Loaded
