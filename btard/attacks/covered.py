"""Wrong aggregates that contributors' false scalars cover."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from attrs import evolve

from btard.attacks.base import Attack, indices
from btard.robust.encoding import BUCKETS, NORM_SIZE, ROWS, pack_norms, pack_rows, unpack_norms
from btard.robust.scalars import scalars
from btard.statemachine import compute as cp
from btard.statemachine.messages import Digest


class _Covered(Attack):
    """Shifts its part of the aggregate, so that a contributor's false scalars can make up for it.

    The shift is ``shift`` long, and in one direction that all colluders know: dense, all coordinates alike. By
    default it is 2 tau over the number of contributors: their clipped differences then add up to some 2 tau,
    and the sketch rows of that are not longer than the 4 tau of SKT-4.
    """

    def __init__(self, from_step: int = 1, shift: float | None = None) -> None:
        super().__init__(from_step)
        self.shift = shift

    def shifted(self, aggregate: torch.Tensor) -> torch.Tensor:
        """Return a wrong aggregate."""
        length = self.shift
        if length is None:
            length = 2 * min(self.backend.parameters.tau, 1e6) / len(self.state.at.contributors)
        return aggregate + length / math.sqrt(max(1, aggregate.numel()))

    def cover(self, result: cp.Sketched, part: int, others: torch.Tensor) -> cp.Sketched:
        """Put into the own scalars of a part what makes all sketches add up to 0, if their form admits it."""
        tau, rows = self.backend.parameters.tau, -others
        longest = float(rows.norm(dim=1).max())
        if longest > 4 * tau:
            rows *= 4 * tau / longest
        (norm,) = unpack_norms(result.norms[part * NORM_SIZE : (part + 1) * NORM_SIZE])
        return evolve(
            result,
            sketches=_replaced(result.sketches, part, pack_rows(rows.tolist())),
            norms=_replaced(result.norms, part, pack_norms([max(norm, min(longest / 4, tau))])),
        )


def _replaced(packed: bytes, part: int, piece: bytes) -> bytes:
    return packed[: part * len(piece)] + piece + packed[(part + 1) * len(piece) :]


class BadSketch(_Covered):
    """Shifts its part of the aggregate and lies in its own scalars, so that the sum of the sketches stays 0."""

    name: ClassVar[str] = "bad_sketch"
    _inputs: tuple[Digest, ...] = ()

    def aggregate(self, step: int, aggregate: torch.Tensor) -> torch.Tensor:
        """Return a wrong aggregate where it can cover it."""
        return self.shifted(aggregate) if self.contributes else aggregate

    def computed(self, request: cp.Request, result: cp.Result) -> cp.Result:
        """Lie about the own difference to the own aggregate."""
        if isinstance(request, cp.Aggregate):
            self._inputs = request.objects
        if not (isinstance(request, cp.Sketch) and isinstance(result, cp.Sketched) and request.own):
            return result
        if not self.active(request.step):
            return result
        backend, part = self.backend, self.own_part
        aggregate, start = backend.part(request.aggregates[part]), backend.start(part, len(request.aggregates))
        others = torch.zeros(ROWS, BUCKETS, dtype=torch.float64)
        for peer, name in zip(self.state.at.contributors, self._inputs, strict=True):
            if peer != self.me:
                sketcher = backend.sketcher(request.sketch_value)
                vector = backend.part(name)
                others += scalars(vector, aggregate, backend.parameters.tau, sketcher, start).rows
        return self.cover(result, part, others)


class BadSketchPair(_Covered):
    """Colluders cover each other: each shifts its part, and the next of them lies in its scalars to hide that.

    ``partner`` names the other colluders by index, joined by +. Who covers recomputes what the contributors
    sent to its colluder from their public seeds. Colluders do not accuse each other.
    """

    name: ClassVar[str] = "bad_sketch_pair"

    def __init__(self, from_step: int = 1, partner: float | str = "", shift: float | None = None) -> None:
        super().__init__(from_step, shift)
        self.partners = frozenset(indices(partner))

    def coverer(self, aggregator: int) -> int | None:
        """Return who covers the aggregate of a colluder in this step: the next of them that contributes."""
        ring = sorted({*self.partners, self.me})
        place = ring.index(aggregator)
        after = [peer for peer in (*ring[place + 1 :], *ring[:place]) if peer in self.state.at.contributors]
        return after[0] if after else None

    def aggregate(self, step: int, aggregate: torch.Tensor) -> torch.Tensor:
        """Return a wrong aggregate where a colluder covers it."""
        return aggregate if self.coverer(self.me) is None else self.shifted(aggregate)

    def computed(self, request: cp.Request, result: cp.Result) -> cp.Result:
        """Lie about the difference to colluders' aggregates, and accuse none of them."""
        if not self.active(request.step):
            return result
        if isinstance(result, cp.Verified):
            return cp.Verified(tuple(c for c in result.claims if c.accused not in self.partners))
        if isinstance(request, cp.Sketch) and isinstance(result, cp.Sketched) and request.own:
            for part, aggregator in enumerate(self.state.at.aggregators):
                if aggregator in self.partners and self.coverer(aggregator) == self.me:
                    result = self.cover(result, part, self._others(request, part))
        return result

    def _others(self, request: cp.Sketch, part: int) -> torch.Tensor:
        backend = self.backend
        aggregate, start = backend.part(request.aggregates[part]), backend.start(part, len(request.aggregates))
        others = torch.zeros(ROWS, BUCKETS, dtype=torch.float64)
        for peer in self.state.at.contributors:
            if peer != self.me:
                vector = backend.split(self.recomputed(peer), len(request.aggregates))[part]
                sketcher = backend.sketcher(request.sketch_value)
                others += scalars(vector, aggregate, backend.parameters.tau, sketcher, start).rows
        return others
