"""What a peer's checks find: claims before its ACCUSE, and who is guilty when it judges (spec VER)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from btard.robust.arithmetic import consensus_norm
from btard.robust.finite import is_finite
from btard.robust.judging import aggregate_is_off, gradient_is_off, scalars_are_off
from btard.robust.scalars import Scalars, plain, scalars
from btard.robust.tolerances import Level
from btard.statemachine import compute as cp
from btard.statemachine.checks import norm_slice, part_slice
from btard.statemachine.messages import Claim, ClaimKind

if TYPE_CHECKING:
    from btard.training.backend import Backend


VALIDATOR_MARGIN = 1.5
"""A validator's numbers are held against its target's, and judges hold both against their own.

So what an accuser sees may be the sum of two deviations that judges let pass: it accuses above three times
gradient_rtol, more than twice the vote threshold (spec TOL-7).
"""


class Judging:
    """The checks, on the vectors of one backend."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._tau = backend.parameters.tau
        self._agreed: dict[cp.Work, Sequence[torch.Tensor] | None] = {}

    # -- before ACCUSE: above the higher threshold ------------------------------------------------------

    def claims(self, request: cp.Verify) -> tuple[Claim, ...]:
        """Return what the checks support, in the order of spec VER-12."""
        found = [claim for check in request.disputed for claim in self._part_claims(check, disputed=True)]
        if request.own is not None and request.own not in request.disputed:
            found += self._part_claims(request.own, disputed=False)
        if request.audit is not None and self._gradient_off(request.audit, Level.ACCUSE, twice=False):
            found.append(Claim(ClaimKind.GRADIENT, request.audit.work.peer, 0, b""))
        found += [
            Claim(ClaimKind.VALIDATOR, check.validator, check.part, check.object)
            for check in request.validators
            if self._validator_off_the_part(check)
        ]
        return tuple(found)

    def _part_claims(self, check: cp.PartCheck, disputed: bool) -> list[Claim]:
        found = []
        if disputed and self._aggregate_off(check, Level.ACCUSE):
            found.append(Claim(ClaimKind.AGGREGATE, check.aggregator, check.part, b""))
        for place, peer in enumerate(check.contributors):
            name = check.objects[place]
            if self._nonfinite(check, place):
                found.append(Claim(ClaimKind.NONFINITE, peer, check.part, name))
            elif self._scalars_off(check, place, Level.ACCUSE):
                found.append(Claim(ClaimKind.SCALARS, peer, check.part, name))
        return found

    def _validator_off_the_part(self, check: cp.ValidatorCheck) -> bool:
        """Whether a validator's scalars do not fit the part that its target committed to."""
        committed = self._plain(check, self._backend.part(check.object))
        return self._differ(committed, check.sketch, check.norm, Level.ACCUSE, VALIDATOR_MARGIN)

    # -- judging: above the lower threshold -------------------------------------------------------------

    def guilty(self, claim: Claim, check: cp.PartCheck | cp.GradientCheck | cp.ValidatorCheck) -> int | None:
        """Return who is guilty: a peer, ACCUSER, or None where two recomputations disagree (spec VER-13)."""
        match check:
            case cp.PartCheck():
                return claim.accused if self._part_guilty(claim, check) else cp.ACCUSER
            case cp.GradientCheck():
                off = self._gradient_off(check, Level.VOTE, twice=True)
                return None if off is None else claim.accused if off else cp.ACCUSER
            case cp.ValidatorCheck():
                return self._validator_or_target(check)

    def broke_its_seed(self, check: cp.GradientCheck) -> bool:
        """Whether a target that is no member any more is to be reported (spec VER-17)."""
        return bool(self._gradient_off(check, Level.ACCUSE, twice=False))

    def accomplices(self, check: cp.GradientCheck) -> tuple[int, ...]:
        """Return the aggregators that must have seen a guilty target's false scalars (spec VER-20).

        Equal hashes prove which part they held. They accuse above Level.ACCUSE, and judges' numbers differ from
        theirs by much less than that, so nobody honest is off by twice as much.
        """
        pieces = self._twice(check.work) or ()
        covered = {
            check.aggregators[part]
            for part, piece in enumerate(pieces)
            if self._backend.store.add(piece, check.work.step) == check.committed[part]
            and self._piece_off(check, part, piece, Level.COVER)
        }
        return tuple(sorted(covered - {check.work.peer}))

    def _part_guilty(self, claim: Claim, check: cp.PartCheck) -> bool:
        if claim.kind is ClaimKind.AGGREGATE:
            return self._aggregate_off(check, Level.VOTE)
        place = check.contributors.index(claim.accused)
        if claim.kind is ClaimKind.NONFINITE:
            return self._nonfinite(check, place)
        return self._scalars_off(check, place, Level.VOTE)

    def _validator_or_target(self, check: cp.ValidatorCheck) -> int | None:
        """Find which of the two does not fit the recomputed gradient, if either (spec VER-5).

        The target's part is held against it by the numbers that the accuser compared: whatever else the target
        broadcast may fit, and an honest accuser would pay for that.
        """
        pieces = self._twice(check.target.work)
        if pieces is None:
            return None
        own = self._plain(check, pieces[check.part])
        if self._differ(own, check.sketch, check.norm, Level.VOTE):
            return check.validator
        committed = self._plain(check, self._backend.part(check.object))
        if self._differ(own, committed.packed_rows(), committed.packed_norm(), Level.VOTE):
            return check.target.work.peer
        return cp.ACCUSER

    # -- single checks ----------------------------------------------------------------------------------

    def _aggregate_off(self, check: cp.PartCheck, level: Level) -> bool:
        vectors = [self._backend.part(name) for name in check.objects]
        aggregate = self._backend.store.vector(check.aggregate).to(self._backend.task.device)
        return aggregate_is_off(vectors, aggregate, self._tau, level)

    def _nonfinite(self, check: cp.PartCheck, place: int) -> bool:
        return not is_finite(self._backend.store.vector(check.objects[place]))

    def _scalars_off(self, check: cp.PartCheck, place: int, level: Level) -> bool:
        own = scalars(
            self._backend.part(check.objects[place]),
            self._backend.part(check.aggregate),
            self._tau,
            self._backend.sketcher(check.sketch_value),
            self._backend.start(check.part, check.parts),
        )
        return scalars_are_off(own, check.sketches[place], check.norms[place], self._tau, level)

    def _twice(self, work: cp.Work) -> Sequence[torch.Tensor] | None:
        """Recompute a gradient twice; None unless both agree bit for bit (spec VER-14)."""
        if work not in self._agreed:
            first, second = self._backend.recompute(work), self._backend.recompute(work)
            same = all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
            self._agreed = {work: first if same else None}  # several claims may rest on one gradient
        return self._agreed[work]

    def _gradient_off(self, check: cp.GradientCheck, level: Level, twice: bool) -> bool | None:
        """Whether a target's commitments or scalars do not fit its seed; None if that cannot be told."""
        pieces = self._twice(check.work) if twice else self._backend.recomputed(check.work)
        if pieces is None:
            return None
        return any(self._piece_off(check, part, piece, level) for part, piece in enumerate(pieces))

    def _piece_off(self, check: cp.GradientCheck, part: int, piece: torch.Tensor, level: Level) -> bool:
        """Whether one part of a recomputed gradient contradicts its target (spec TOL-3, TOL-4, VER-16)."""
        sketcher = self._backend.sketcher(check.sketch_value)
        start = self._backend.start(part, check.work.parts)
        own = scalars(piece, self._backend.part(check.aggregates[part]), self._tau, sketcher, start)
        sketch, norm = part_slice(check.sketches, part), norm_slice(check.norms, part)
        if self._backend.store.add(piece, check.work.step) == check.committed[part]:
            return scalars_are_off(own, sketch, norm, self._tau, level)
        rtol = self._backend.parameters.gradient_rtol
        return gradient_is_off(own, consensus_norm(piece), sketch, norm, self._tau, rtol, level)

    def _plain(self, check: cp.ValidatorCheck, piece: torch.Tensor) -> Scalars:
        """Return a part's scalars as a validator computes them (spec VER-5)."""
        sketcher = self._backend.sketcher(check.sketch_value)
        return plain(piece, self._tau, sketcher, self._backend.start(check.part, check.parts))

    def _differ(self, own: Scalars, sketch: bytes, norm: bytes, level: Level, margin: float = 1.0) -> bool:
        rtol = margin * self._backend.parameters.gradient_rtol
        return gradient_is_off(own, own.norm, sketch, norm, self._tau, rtol, level)
