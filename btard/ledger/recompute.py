"""A verdict computed once more, from what the ledger holds (spec OPS-14)."""

from __future__ import annotations

import torch

from btard.errors import BtardError
from btard.ledger.book import Book
from btard.ledger.entry import Judgement, target_step
from btard.node.run import Options, load_task
from btard.statemachine.compute import Judged
from btard.training.backend import Backend


def recompute(book: Book, judgement: Judgement) -> Judged:
    """Return what this machine finds. Raises BtardError where the task, model or a vector cannot be loaded."""
    parameters, request = book.genesis.parameters, judgement.request
    task = load_task(book.genesis, Options(book.base / "run file", book.base))
    backend = Backend(task, parameters, evaluate_every=1, mixed=book.genesis.numerics == "tolerant")
    for name in judgement.objects:
        backend.store.add_fetched(name, bytearray(book.ledger.object(name)), request.step)
    step = target_step(request)
    if step is not None and judgement.model is None:
        raise BtardError(
            f"this peer had taken step {step + 1} back, and no longer held the model before {step}"
        )
    if step is not None and judgement.model is not None:
        data = bytearray(book.ledger.object(judgement.model))
        wide = len(data) == 8 * parameters.dimension
        model = torch.frombuffer(data, dtype=torch.float64 if wide else torch.float32)
        backend.look_back(step, model.to(task.device))
    try:
        result = backend.compute(request)
    except Exception as error:  # a user's task may raise anything
        raise BtardError(f"{type(error).__name__}: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(result, Judged):
        raise TypeError("a judgement ends in another result")
    return result
