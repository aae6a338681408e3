"""Lies in the numbers of VALIDATE: a contributor's own, and a validator's."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import ClassVar

from attrs import evolve

from btard.attacks.base import Attack
from btard.robust.encoding import BUCKETS, ROWS, pack_norms, pack_rows, unpack_rows
from btard.statemachine import compute as cp
from btard.statemachine.effects import Compute, Effect
from btard.statemachine.form import scalars_due


class BadScalars(Attack):
    """Broadcasts ``factor`` times the sketches of its clipped differences, and the right norms."""

    name: ClassVar[str] = "bad_scalars"

    def __init__(self, from_step: int = 1, factor: float = 0.5) -> None:
        super().__init__(from_step)
        self.factor = factor

    def computed(self, request: cp.Request, result: cp.Result) -> cp.Result:
        """Change the sketches."""
        if not (isinstance(request, cp.Sketch) and isinstance(result, cp.Sketched) and request.own):
            return result
        if not self.active(request.step):
            return result
        rows = [[self.factor * x for x in row] for row in unpack_rows(result.sketches)]
        return evolve(result, sketches=pack_rows(rows))


class LazyValidator(Attack):
    """Never recomputes its target's gradient: broadcasts made-up scalars."""

    name: ClassVar[str] = "lazy_validator"

    def performed(self, effect: Effect) -> Iterable[Effect]:
        """Leave out the work of a validator."""
        match effect:
            case Compute(request=cp.Sketch() as request):
                return (Compute(evolve(request, audit=None, report=None)),)
            case Compute(request=(cp.Prepare() | cp.Verify()) as request):
                return (Compute(evolve(request, audit=None)),)
        return (effect,)

    def computed(self, request: cp.Request, result: cp.Result) -> cp.Result:
        """Make up the scalars that it owes."""
        due = scalars_due(self.state, self.me)
        if not (isinstance(request, cp.Sketch) and isinstance(result, cp.Sketched)):
            return result
        if request.own or not due or not self.active(request.step):
            return result
        draws = random.Random(request.sketch_value)
        size = min(1.0, self.backend.parameters.tau) / 8
        rows = [[draws.uniform(-size, size) for _ in range(BUCKETS)] for _ in range(ROWS * due)]
        return evolve(result, sketches=pack_rows(rows), norms=pack_norms([1.0] * due))
