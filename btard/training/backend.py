"""The numeric backend of a peer: gradients, aggregates, sketches and checks, on CPU or GPU.

It answers the state machine's requests and decides nothing. Vectors live in the store by digest.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator

import torch

from btard.node.store import MissingObjectError, ObjectStore
from btard.robust.arithmetic import consensus_norm
from btard.robust.centered_clip import centered_clip
from btard.robust.finite import finite_or_zero, is_finite
from btard.robust.partition import bounds
from btard.robust.scalars import Scalars, plain, scalars
from btard.robust.sketch import Sketcher
from btard.statemachine import compute as cp
from btard.statemachine.messages import Digest
from btard.statemachine.parameters import Parameters
from btard.training.judge import Judging
from btard.training.owed import owed
from btard.training.second_look import nudged
from btard.training.state import State
from btard.training.task import Task
from btard.training.tensor_file import raw_bytes


class Backend:
    """Computes for one peer. One thread calls it; only the store is shared."""

    def __init__(
        self,
        task: Task,
        parameters: Parameters,
        evaluate_every: int,
        warn: Callable[[str], None] = lambda _: None,
        mixed: bool = False,
    ) -> None:
        """`mixed`: peers of different numerics classes take part, so gradients get a second look (TRN-21)."""
        self.store = ObjectStore()
        self.task = task
        self.parameters = parameters
        self.evaluate_every = evaluate_every
        self._warn = warn
        self.model_size = (
            task.model_size()
        )  # bytes of the model as an object, the same at all peers (spec STP-13)
        self._model_step = 1  # the model stands before this step; step 0 changes nothing
        self._previous: torch.Tensor | None = None  # parameters before the last update
        self._audited: dict[cp.Work, tuple[torch.Tensor, ...]] = {}
        self._sketcher = Sketcher(bytes(32))
        self._sketch_value = bytes(32)
        self._judging = Judging(self, mixed)

    # -- the state machine's requests ------------------------------------------------------------------

    def compute(self, request: cp.Request) -> cp.Result:
        """Return the result of a request. Raises what the user's task raises."""
        match request:
            case cp.Prepare():
                return self._prepare(request)
            case cp.Aggregate():
                return self._aggregate(request)
            case cp.Sketch():
                return self._sketch(request)
            case cp.Verify():
                return cp.Verified(self._judging.claims(request))
            case cp.Judge():
                return self._judge(request)
            case cp.Apply():
                return self._apply(request)
            case cp.Save():
                return cp.Saved(self.store.add_bytes(self.task.state().to_bytes(), request.step))
            case cp.Load():
                return self._load(request)

    def _prepare(self, request: cp.Prepare) -> cp.Prepared:
        parts: tuple[Digest, ...] = ()
        if request.own is not None:
            vector = self._honest_gradient(request.own)
            parts = tuple(
                self.store.add(piece.contiguous(), request.step)
                for piece in self.split(vector, request.own.parts)
            )
        self._audited.clear()
        if request.audit is not None and self.can_recompute(request.audit):
            self.recomputed(request.audit)
        return cp.Prepared(parts, os.urandom(128))

    def _honest_gradient(self, work: cp.Work) -> torch.Tensor:
        vector = self.task.gradient(work.seed)
        if not is_finite(vector):
            self._warn(
                f"step {work.step}: this peer's gradient holds NaN or Inf and none of it is sent: the zero "
                "vector counts instead (VER-1); lower the learning rate, or check data and model"
            )
        return owed(vector, self.parameters.gradient_clip)

    def _aggregate(self, request: cp.Aggregate) -> cp.Aggregated:
        vectors = [self.part(name) for name in request.objects]
        return cp.Aggregated(self.store.add(centered_clip(vectors, self.parameters.tau), request.step))

    def _sketch(self, request: cp.Sketch) -> cp.Sketched:
        aggregates = [self.part(name) for name in request.aggregates]
        tau, sketcher = self.parameters.tau, self.sketcher(request.sketch_value)
        own: list[Scalars] = []
        if request.own:
            pairs = zip(request.own, aggregates, strict=True)
            own = [
                scalars(self.part(name), aggregate, tau, sketcher, self.start(part, len(aggregates)))
                for part, (name, aggregate) in enumerate(pairs)
            ]
        elif request.audit is not None and self.can_recompute(request.audit):
            pieces = self.recomputed(request.audit)
            own = [
                plain(piece, tau, sketcher, self.start(part, len(pieces))) for part, piece in enumerate(pieces)
            ]
        return cp.Sketched(
            sketches=b"".join(entry.packed_rows() for entry in own),
            norms=b"".join(entry.packed_norm() for entry in own),
            aggregate_norms=tuple(consensus_norm(aggregate) for aggregate in aggregates),
            report=request.report is not None and self._judging.broke_its_seed(request.report),
        )

    def _judge(self, request: cp.Judge) -> cp.Judged:
        guilty = self._judging.guilty(request.claim, request.check)
        if isinstance(request.check, cp.GradientCheck) and guilty == request.claim.accused:
            return cp.Judged(guilty, self._judging.accomplices(request.check))
        return cp.Judged(guilty)

    def _apply(self, request: cp.Apply) -> cp.Applied:
        self._previous = self.task.parameters_vector()
        self.task.update(torch.cat([self.part(name) for name in request.aggregates]))
        self._model_step = request.step + 1
        self.model_size = self.task.model_size()
        return cp.Applied(self.task.model_digest())

    def _load(self, request: cp.Load) -> cp.Loaded:
        data = self.store.data(request.digest)
        if data is None:
            raise MissingObjectError(request.digest.hex())
        self.task.load_state(State.from_bytes(bytes(data)))
        if request.step < self._model_step:  # a step was taken back: the model before it went with it (AGR-22)
            self._model_step, self._previous = request.step, None
        return cp.Loaded(self.task.model_digest())

    def model_before(self, step: int) -> memoryview | None:
        """Return the bytes of the parameters before a step; None where they are gone."""
        return raw_bytes(self._model(step)) if self._has(step) else None

    def _model(self, step: int) -> torch.Tensor:
        if step == self._model_step:
            return self.task.parameters_vector()
        if step == self._model_step - 1 and self._previous is not None:
            return self._previous
        raise ValueError(f"the model before step {step} is not kept any more")

    def can_recompute(self, work: cp.Work) -> bool:
        """Whether the model of a gradient is here: not where the step after it was taken back (spec AGR-22)."""
        return self._has(work.step)

    def _has(self, step: int) -> bool:
        return step == self._model_step or (step == self._model_step - 1 and self._previous is not None)

    def look_back(self, step: int, parameters: torch.Tensor) -> None:
        """Stand as if the step after ``step`` were under way: ``parameters`` are those before ``step``."""
        self._model_step, self._previous = step + 1, parameters

    # -- the model on disk ------------------------------------------------------------------------------

    def model(self) -> Iterator[bytes | memoryview]:
        """Return the pieces of the present model as an object, from a copy: later updates do not touch it."""
        return self.task.state().pieces()

    def recall(self, step: int, data: bytes) -> Digest:
        """Put the model before ``step`` in place, after that of the step before where it is; return its digest.

        Raises StateError where the bytes hold no model of this task.
        """
        previous = self.task.parameters_vector() if step == self._model_step + 1 else None
        self.task.load_state(State.from_bytes(data))
        self._previous, self._model_step = previous, step
        return self.task.model_digest()

    def progress(self, step: int) -> dict[str, float]:
        """Return the loss of the last own gradient, and where it is due the test accuracy, after ``step``."""
        figures = {"loss": self.task.last_loss}
        if step % self.evaluate_every == 0 or step == self.parameters.steps:
            scores = self.task.scores()
            figures |= {name: value for name, value in scores.items() if name == "accuracy"}
            figures |= {"test_loss": scores["loss"]} if "loss" in scores else {}
        return {name: value for name, value in figures.items() if math.isfinite(value)}

    @property
    def excesses(self) -> dict[int, float]:
        """How far off each target was at most where this peer let it pass, in units of what judges let pass."""
        return dict(self._judging.excesses)

    # -- vectors ----------------------------------------------------------------------------------------

    def part(self, name: Digest) -> torch.Tensor:
        """Return a stored part on the task's device, zeros in its place if it is not finite."""
        return finite_or_zero(self.store.vector(name).to(self.task.device))

    def split(self, vector: torch.Tensor, parts: int) -> list[torch.Tensor]:
        """Split a gradient into its parts (spec AGG-1)."""
        return [vector[start:end] for start, end in bounds(self.parameters.dimension, parts)]

    def start(self, part: int, parts: int) -> int:
        """Return the first coordinate of a part."""
        return bounds(self.parameters.dimension, parts)[part][0]

    def sketcher(self, sketch_value: Digest) -> Sketcher:
        """Return the sketcher of a sketch value; the last one is kept."""
        if sketch_value != self._sketch_value:
            self._sketcher, self._sketch_value = Sketcher(sketch_value), sketch_value
        return self._sketcher

    def recomputed(self, work: cp.Work) -> tuple[torch.Tensor, ...]:
        """Return the parts of another peer's gradient, computed here, once per step."""
        if work not in self._audited:
            self._audited[work] = self.recompute(work)
        return self._audited[work]

    def recompute(self, work: cp.Work, distance: float = 0.0) -> tuple[torch.Tensor, ...]:
        """Compute another peer's gradient at the model that it had (spec VER-13).

        With a `distance`, at a model that lies so many rounding errors away (spec TRN-21).
        """
        if work.step == self._model_step and not distance:
            model = None
        else:
            model = self._model(work.step)
        if model is None:
            kept = self.task.last_loss
            vector = self.task.gradient(work.seed)
            self.task.last_loss = kept
        else:
            vector = self.task.gradient_at(nudged(model, distance) if distance else model, work.seed)
        return tuple(self.split(owed(vector, self.parameters.gradient_clip), work.parts))
