"""Peers that compute what they should and then say something else: tampers for `cluster.Cluster`."""

from __future__ import annotations

import struct
from collections.abc import Callable

from attrs import evolve

from btard.statemachine import compute as cp
from btard.statemachine.messages import Claim, ClaimKind
from tests.node.cluster import Tamper


def wrong_scalars(from_step: int = 1, factor: float = 0.5) -> Tamper:
    """Broadcasts sketches of something shorter than the own clipped differences."""

    def tamper(request: cp.Request, result: cp.Result) -> cp.Result:
        if not isinstance(request, cp.Sketch) or not isinstance(result, cp.Sketched):
            return result
        if not request.own or request.step < from_step:
            return result
        numbers = struct.unpack(f"<{len(result.sketches) // 8}d", result.sketches)
        return evolve(result, sketches=struct.pack(f"<{len(numbers)}d", *(factor * x for x in numbers)))

    return tamper


def lazy_validator(from_step: int = 1) -> Tamper:
    """Validates without looking: zeros in place of what it should have recomputed."""

    def tamper(request: cp.Request, result: cp.Result) -> cp.Result:
        if not isinstance(request, cp.Sketch) or not isinstance(result, cp.Sketched):
            return result
        if request.audit is None or request.step < from_step:
            return result
        return evolve(result, sketches=bytes(len(result.sketches)), norms=bytes(len(result.norms)))

    return tamper


def slanderer(kind: ClaimKind, from_step: int = 1) -> Tamper:
    """Raises a false claim of this kind as soon as it may."""
    slander = SLANDERS[kind]

    def tamper(request: cp.Request, result: cp.Result) -> cp.Result:
        if isinstance(request, cp.Verify) and request.step >= from_step:
            claim = slander(request)
            return result if claim is None else cp.Verified((claim,))
        return result

    return tamper


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
    return check and Claim(ClaimKind.VALIDATOR, check.validator, check.part, check.object)


SLANDERS: dict[ClaimKind, Callable[[cp.Verify], Claim | None]] = {
    ClaimKind.SCALARS: _on_a_contributor(ClaimKind.SCALARS),
    ClaimKind.NONFINITE: _on_a_contributor(ClaimKind.NONFINITE),
    ClaimKind.GRADIENT: _on_the_target,
    ClaimKind.VALIDATOR: _on_a_validator,
}
