"""What a peer's checks find: claims before its ACCUSE, and who is guilty when it judges (spec VER)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from btard.robust.arithmetic import consensus_norm
from btard.robust.finite import is_finite
from btard.robust.judging import aggregate_is_off, gradient_excess, gradient_is_off, scalars_are_off
from btard.robust.scalars import Scalars, plain, scalars
from btard.robust.tolerances import Level
from btard.statemachine import compute as cp
from btard.statemachine.checks import norm_slice, part_slice
from btard.statemachine.messages import Claim, ClaimKind
from btard.training.second_look import SecondLook

if TYPE_CHECKING:
    from btard.training.backend import Backend


VALIDATOR_MARGIN = 2.0
"""A validator's numbers are held against its target's part: four times gradient_rtol, twice what accusers use.

Two that are farther apart are not both within the accuse threshold of a third (spec TOL-7).
"""


class Judging:
    """The checks, on the vectors of one backend."""

    def __init__(self, backend: Backend, mixed: bool) -> None:
        self._backend = backend
        self.excesses: dict[int, float] = {}
        """How far off each peer's parts were at most that were let pass, in units of what judges do (TOL-4)."""
        self._second_look = SecondLook(backend, mixed)
        self._tau = backend.parameters.tau
        self._agreed: dict[cp.Work, Sequence[torch.Tensor] | None] = {}  # of one step's targets

    # -- before ACCUSE: above the higher threshold ------------------------------------------------------

    def claims(self, request: cp.Verify) -> tuple[Claim, ...]:
        """Return what the checks support, in the order of spec VER-12."""
        found = [claim for check in request.disputed for claim in self._part_claims(check, disputed=True)]
        if request.own is not None and request.own not in request.disputed:
            found += self._part_claims(request.own, disputed=False)
        audit = request.audit
        if audit and self._is_known(audit) and self._gradient_off(audit, Level.ACCUSE, twice=False):
            found.append(Claim(ClaimKind.GRADIENT, audit.work.peer, 0, b""))
        for check in request.validators:
            if found:
                break  # it is the first that is claimed (VER-12), and each of these costs a gradient
            if not self._is_known(check.target):
                continue
            found += self._validator_claim(check)
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

    def _validator_claim(self, check: cp.ValidatorCheck) -> list[Claim]:
        """Claim the validator or its target, if their numbers contradict each other (spec TOL-7, VER-5).

        Who of the two is at fault the accuser finds out itself: judges that had to choose between two liars
        might disagree.
        """
        committed = self._plain(check, check.part, self._backend.part(check.object))
        if not self._differ(committed, check.sketch, check.norm, Level.ACCUSE, VALIDATOR_MARGIN):
            return []
        if self._validator_off(check, self._backend.recomputed(check.target.work), Level.ACCUSE):
            return [Claim(ClaimKind.VALIDATOR, check.validator, check.part, b"")]
        if self._gradient_off(check.target, Level.ACCUSE, twice=False):
            return [Claim(ClaimKind.GRADIENT, check.target.work.peer, 0, b"")]
        return []

    # -- judging: above the lower threshold -------------------------------------------------------------

    def guilty(self, claim: Claim, check: cp.PartCheck | cp.GradientCheck | cp.ValidatorCheck) -> int | None:
        """Return who is guilty: a peer or ACCUSER; None where that cannot be told (spec VER-13).

        That is so where two recomputations disagree, or the model that they would need is not here any more.
        """
        target = check if isinstance(check, cp.GradientCheck) else getattr(check, "target", None)
        if target is not None and not self._is_known(target):
            return None
        match check:
            case cp.PartCheck():
                return claim.accused if self._part_guilty(claim, check) else cp.ACCUSER
            case cp.GradientCheck():
                off = self._gradient_off(check, Level.VOTE, twice=True)
                return None if off is None else claim.accused if off else cp.ACCUSER
            case cp.ValidatorCheck():
                pieces = self._twice(check.target.work)
                if pieces is None:
                    return None
                return claim.accused if self._validator_off(check, pieces, Level.VOTE) else cp.ACCUSER

    def broke_its_seed(self, check: cp.GradientCheck) -> bool:
        """Whether a target that is no member any more is to be reported (spec VER-17)."""
        return self._is_known(check) and bool(self._gradient_off(check, Level.ACCUSE, twice=False))

    def accomplices(self, check: cp.GradientCheck) -> tuple[int, ...]:
        """Return the aggregators that must have seen a guilty target's false scalars (spec VER-20).

        Equal hashes prove which part they held. They accuse above Level.ACCUSE, and judges' numbers differ from
        theirs by much less than that, so nobody honest is off by twice as much.
        """
        pieces = self._twice(check.work) or ()
        covered = {
            check.aggregators[part]
            for part, piece in enumerate(pieces)
            if self._is_committed(check, part, piece) and self._tightly_off(check, part, piece, Level.COVER)
        }
        return tuple(sorted(covered - {check.work.peer}))

    def _part_guilty(self, claim: Claim, check: cp.PartCheck) -> bool:
        if claim.kind is ClaimKind.AGGREGATE:
            return self._aggregate_off(check, Level.VOTE)
        place = check.contributors.index(claim.accused)
        if claim.kind is ClaimKind.NONFINITE:
            return self._nonfinite(check, place)
        return self._scalars_off(check, place, Level.VOTE)

    def _validator_off(self, check: cp.ValidatorCheck, pieces: Sequence[torch.Tensor], level: Level) -> bool:
        """Whether a validator's scalars fit no gradient that it may have got (spec TOL-7, TRN-21)."""

        def measure(part: int, piece: torch.Tensor) -> tuple[Scalars, float]:
            own = self._plain(check, part, piece)
            return own, own.norm

        first, _ = measure(check.part, pieces[check.part])
        if not self._differ(first, check.sketch, check.norm, level):
            return False
        looks = self._second_look.at(check.target.work, ("validator", check.sketch_value), measure, level)
        return all(self._differ(seen[check.part][0], check.sketch, check.norm, level) for seen in looks)

    def _is_known(self, check: cp.GradientCheck) -> bool:
        return self._backend.can_recompute(check.work)

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
        if any(other.step != work.step for other in self._agreed):
            self._agreed.clear()
        if work not in self._agreed:
            first, second = self._backend.recompute(work), self._backend.recompute(work)
            same = all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
            self._agreed[work] = first if same else None  # several claims may rest on one gradient
        return self._agreed[work]

    def _gradient_off(self, check: cp.GradientCheck, level: Level, twice: bool) -> bool | None:
        """Whether a target's commitments or scalars do not fit its seed; None if that cannot be told.

        An accuser uses the wide tolerance whatever the hashes are, as judges of another numerics class will.
        """
        pieces = self._twice(check.work) if twice else self._backend.recomputed(check.work)
        if pieces is None:
            return None
        off = []
        for part, piece in enumerate(pieces):
            if level is not Level.ACCUSE and self._is_committed(check, part, piece):
                if self._tightly_off(check, part, piece, level):
                    return True  # the very part that it committed to: rounding excuses nothing
            elif self._loosely_off(check, part, *self._against_aggregate(check, part, piece), level):
                off.append(part)
        return bool(off) and self._off_at_second_look(check, off, level)

    def _off_at_second_look(self, check: cp.GradientCheck, off: Sequence[int], level: Level) -> bool:
        """Whether one of these parts fits none of the gradients that the target may have got (spec TRN-21)."""

        def measure(part: int, piece: torch.Tensor) -> tuple[Scalars, float]:
            return self._against_aggregate(check, part, piece)

        for seen in self._second_look.at(check.work, ("target", check.sketch_value), measure, level):
            off = [part for part in off if self._loosely_off(check, part, *seen[part], level)]
            if not off:
                return False
        return True

    def _is_committed(self, check: cp.GradientCheck, part: int, piece: torch.Tensor) -> bool:
        """Whether a recomputed part is, bit for bit, what the target committed to (spec VER-16)."""
        return self._backend.store.add(piece, check.work.step) == check.committed[part]

    def _tightly_off(self, check: cp.GradientCheck, part: int, piece: torch.Tensor, level: Level) -> bool:
        """Whether the target's scalars are not those of its own part (spec TOL-3)."""
        own, _ = self._against_aggregate(check, part, piece)
        sketch, norm = part_slice(check.sketches, part), norm_slice(check.norms, part)
        return scalars_are_off(own, sketch, norm, self._tau, level)

    def _loosely_off(
        self, check: cp.GradientCheck, part: int, own: Scalars, length: float, level: Level
    ) -> bool:
        """Whether the target's scalars are not those of a part of this length, nor near them (spec TOL-4)."""
        sketch, norm = part_slice(check.sketches, part), norm_slice(check.norms, part)
        rtol = self._backend.parameters.gradient_rtol
        if gradient_is_off(own, length, sketch, norm, self._tau, rtol, level):
            return True
        if level is Level.ACCUSE:
            excess = gradient_excess(own, length, sketch, norm, self._tau, rtol)
            peer = check.work.peer
            self.excesses[peer] = max(self.excesses.get(peer, 0.0), excess)
        return False

    def _against_aggregate(
        self, check: cp.GradientCheck, part: int, piece: torch.Tensor
    ) -> tuple[Scalars, float]:
        """Return a recomputed part's scalars as a contributor computes them (VER-2), and its length."""
        sketcher = self._backend.sketcher(check.sketch_value)
        start = self._backend.start(part, check.work.parts)
        own = scalars(piece, self._backend.part(check.aggregates[part]), self._tau, sketcher, start)
        return own, consensus_norm(piece)

    def _plain(self, check: cp.ValidatorCheck, part: int, piece: torch.Tensor) -> Scalars:
        """Return a part's scalars as a validator computes them (spec VER-5)."""
        sketcher = self._backend.sketcher(check.sketch_value)
        return plain(piece, self._tau, sketcher, self._backend.start(part, check.parts))

    def _differ(self, own: Scalars, sketch: bytes, norm: bytes, level: Level, margin: float = 1.0) -> bool:
        rtol = margin * self._backend.parameters.gradient_rtol
        return gradient_is_off(own, own.norm, sketch, norm, self._tau, rtol, level)
