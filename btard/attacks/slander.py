"""False claims."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from attrs import evolve

from btard.attacks.base import Attack
from btard.robust.encoding import SKETCH_SIZE
from btard.statemachine import compute as cp
from btard.statemachine.messages import Claim, ClaimKind

ANY = "any"


class Slander(Attack):
    """Raises a false claim of this ``kind`` as soon as it may; ``any``: of the first kind that it may.

    A scalars or nonfinite claim shows the genuine part. An aggregate can be accused only where its part is
    disputed: to get there it lies in its own scalars.
    """

    name: ClassVar[str] = "slander"

    def __init__(self, from_step: int = 1, kind: str = ANY) -> None:
        super().__init__(from_step)
        if kind not in {ANY, *_SLANDERS}:
            raise ValueError(f"kind is one of {ANY}, {', '.join(_SLANDERS)}")
        self.kinds = [*_SLANDERS] if kind == ANY else [ClaimKind(kind)]

    def computed(self, request: cp.Request, result: cp.Result) -> cp.Result:
        """Claim what is not so."""
        if not self.active(request.step):
            return result
        if isinstance(request, cp.Verify):
            claims = [claim for kind in self.kinds if (claim := _SLANDERS[kind](request))]
            return cp.Verified(tuple(claims[:1])) if claims else result
        if self.kinds == [ClaimKind.AGGREGATE] and isinstance(result, cp.Sketched):
            return self._dispute(result)
        return result

    def _dispute(self, honest: cp.Sketched) -> cp.Sketched:
        """Make another's part disputed by saying nothing of the own difference to it."""
        if not self.contributes:
            return honest
        part = next(part for part, peer in enumerate(self.state.at.aggregators) if peer != self.me)
        start, end = SKETCH_SIZE * part, SKETCH_SIZE * (part + 1)
        return evolve(honest, sketches=honest.sketches[:start] + bytes(SKETCH_SIZE) + honest.sketches[end:])


def _on_a_contributor(kind: ClaimKind) -> Callable[[cp.Verify], Claim | None]:
    def slander(request: cp.Verify) -> Claim | None:
        check = request.own
        if check is None:
            return None
        place = next(i for i, peer in enumerate(check.contributors) if peer != check.aggregator)
        return Claim(kind, check.contributors[place], check.part, check.objects[place])

    return slander


def _on_the_target(request: cp.Verify) -> Claim | None:
    return Claim(ClaimKind.GRADIENT, request.audit.work.peer, 0, b"") if request.audit else None


def _on_a_validator(request: cp.Verify) -> Claim | None:
    check = next(iter(request.validators), None)
    return Claim(ClaimKind.VALIDATOR, check.validator, check.part, b"") if check else None


def _on_an_aggregator(request: cp.Verify) -> Claim | None:
    check = next((c for c in request.disputed if request.own and c.aggregator != request.own.aggregator), None)
    return Claim(ClaimKind.AGGREGATE, check.aggregator, check.part, b"") if check else None


_SLANDERS: dict[ClaimKind, Callable[[cp.Verify], Claim | None]] = {
    ClaimKind.GRADIENT: _on_the_target,
    ClaimKind.VALIDATOR: _on_a_validator,
    ClaimKind.AGGREGATE: _on_an_aggregator,
    ClaimKind.SCALARS: _on_a_contributor(ClaimKind.SCALARS),
    ClaimKind.NONFINITE: _on_a_contributor(ClaimKind.NONFINITE),
}
