"""Computations beside the state machine: what it asks for, and what is told or kept of that."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any, Protocol, cast

from attrs import define, frozen

from btard.ledger.entry import Judgement, objects_of, target_step
from btard.ledger.file import Ledger
from btard.ledger.recorder import Recorder
from btard.node.gathering import Report
from btard.node.model_files import ModelFiles
from btard.node.store import ObjectStore
from btard.statemachine.compute import Apply, Judge, Load, Request, Result
from btard.statemachine.messages import Digest
from btard.statemachine.state import State
from btard_transports.interface import Failure, Host


class Compute(Protocol):
    """The numeric backend."""

    store: ObjectStore
    model_size: int  # bytes of the model as an object

    def compute(self, request: Request) -> Result:
        """Return the result of a request."""

    def model_before(self, step: int) -> memoryview | None:
        """Return the bytes of the parameters before a step; None where they are gone."""

    def progress(self, step: int) -> dict[str, float]:
        """Return loss, and accuracy where it is due, after ``step``."""

    def model(self) -> Iterable[bytes | memoryview]:
        """Return the present model as an object, in pieces; what comes after does not touch them."""

    def recall(self, step: int, data: bytes) -> Digest:
        """Put the model before ``step`` in place; return its digest."""


@frozen
class Figures:
    """The token of measuring how far the training has come after a step."""

    step: int


@define(eq=False)
class Computing:
    """What is computed aside, in the order in which it is asked for."""

    host: Host
    backend: Compute
    models: ModelFiles | None
    ledger: Ledger
    recorder: Recorder
    report: Report
    pending: int = 0  # figures to report, and judgements to keep, that are under way

    def submit(self, token: Hashable, request: Request) -> None:
        """Compute aside; ``token`` comes back with the result."""
        self.host.submit(token, lambda: self._work(request))

    def _work(self, request: Request) -> Result:
        """Compute; where that gives a new model, begin to write it (spec OPS-5). Runs in the worker."""
        result = self.backend.compute(request)
        if self.models is not None and isinstance(request, Apply):
            self.models.write(request.step + 1, self.backend.model())
        if self.models is not None and isinstance(request, Load):
            self.models.write(request.step, self.backend.model())
        return result

    def follow_up(self, state: State, request: Request) -> None:
        """Compute what is to be told or kept of a computation, right after it."""
        if isinstance(request, Apply):
            self.pending += 1
            self.host.submit(Figures(request.step), lambda: self.backend.progress(request.step))
        if isinstance(request, Judge):
            self._keep_judgement(state, request)

    def _keep_judgement(self, state: State, request: Judge) -> None:
        """Keep what a judge computes from, right after it has (spec OPS-12)."""
        named = objects_of(request)  # a claim on one part needs that alone, and only that may be here
        held = {name: data for name in named if (data := self.backend.store.data(name)) is not None}
        judgement = self.recorder.judgement(state, request, tuple(held))

        def keep() -> Digest | None:
            for data in held.values():
                self.ledger.put_object(data)
            step = target_step(request)
            model = None if step is None else self.backend.model_before(step)
            return None if model is None else self.ledger.put_object(model)

        self.pending += 1
        self.host.submit(judgement, keep)

    def measured(self, token: Figures, result: object) -> None:
        """Report figures."""
        self.pending -= 1
        self.report("progress", step=token.step, **cast(dict[str, Any], result))

    def judged(self, token: Judgement, result: object) -> None:
        """Keep what a judgement rests on."""
        self.pending -= 1
        if isinstance(result, Failure):
            self.report("error", reason=f"what a judgement rests on is not kept: {result.exception}")
        else:
            self.recorder.judged(token, cast("Digest | None", result))
