"""A numeric backend whose vectors are bytes that follow from their inputs: a run takes no time."""

from __future__ import annotations

import random
from collections.abc import Iterable

from attrs import define, field

from btard.hashing import digest, object_digest
from btard.node.store import MissingObjectError, ObjectStore
from btard.robust.encoding import SKETCH_SIZE
from btard.statemachine import compute as cp
from btard.statemachine.checks import part_size
from btard.statemachine.messages import Digest

MODEL = b"model before step 1"


@define(eq=False)
class Abstract:
    """What `Backend` is to a peer. Every number is right; the model is the chain of what was applied."""

    dimension: int
    entropy: random.Random
    store: ObjectStore = field(factory=ObjectStore)
    present: bytes = MODEL
    model_size: int = len(MODEL)
    before: int = 1  # the step that the model stands before

    def compute(self, request: cp.Request) -> cp.Result:
        match request:
            case cp.Prepare(own=own):
                return cp.Prepared(self._parts(own) if own else (), self.entropy.randbytes(128))
            case cp.Aggregate():
                size = part_size(self.dimension, request.parts, request.part)
                return cp.Aggregated(self._add(size, request.step, *map(self._data, request.objects)))
            case cp.Sketch():
                parts = len(request.own) or (request.audit.parts if request.audit else 0)
                norms = b"\x00\x00\x00\x00\x00\x00\xf0\x3f" * parts
                for name in (*request.own, *request.aggregates):
                    self._data(name)
                return cp.Sketched(bytes(SKETCH_SIZE * parts), norms, (1.0,) * len(request.aggregates))
            case cp.Verify():
                for check in request.disputed + ((request.own,) if request.own else ()):
                    for name in (*check.objects, check.aggregate):
                        self._data(name)
                return cp.Verified(())
            case cp.Judge():
                return cp.Judged(cp.ACCUSER)
            case cp.Apply():
                assert request.step == self.before, "the model does not stand before this step"
                self.present = digest("model", self.present, *map(self._data, request.aggregates))
                self.before += 1
                self.model_size = len(self.present)
                return cp.Applied(object_digest(self.present))
            case cp.Save():
                return cp.Saved(self.store.add_bytes(self.present, request.step))
            case cp.Load():
                self.present = self._data(request.digest)
                return cp.Loaded(request.digest)

    def progress(self, step: int) -> dict[str, float]:
        return {}

    def model(self) -> Iterable[bytes]:
        return [self.present]

    def recall(self, step: int, data: bytes) -> Digest:
        self.present, self.before, self.model_size = data, step, len(data)
        return object_digest(data)

    def _parts(self, work: cp.Work) -> tuple[Digest, ...]:
        assert work.step == self.before, "a gradient at another model"
        sizes = [part_size(self.dimension, work.parts, part) for part in range(work.parts)]
        seeds = [(self.present, work.seed, bytes([part, work.parts])) for part in range(work.parts)]
        return tuple(self._add(size, work.step, *seed) for size, seed in zip(sizes, seeds, strict=True))

    def _add(self, size: int, step: int, *source: bytes) -> Digest:
        name = digest("abstract", *source)
        return self.store.add_bytes((name * (size // len(name) + 1))[:size], step)

    def _data(self, name: Digest) -> bytes:
        data = self.store.data(name)
        if data is None:
            raise MissingObjectError(name.hex())
        return bytes(data)
