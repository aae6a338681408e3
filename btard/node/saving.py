"""A peer's model as a file for use: the trained one, or the last one of a peer that stopped (spec TRN-12)."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Final

from btard.disk import refused
from btard.errors import BtardError
from btard.node.peer import Peer
from btard.training.checkpoint import save_model
from btard.training.task import Task

MODEL: Final = "model.safetensors"


def save_trained(task: Task, folder: Path, run: bytes, steps: int) -> Path:
    """Save the model of a finished run; return where. Raises BtardError where the disk refuses."""
    path = folder / MODEL
    try:
        save_model(task, path, run, steps)
    except OSError as error:
        raise BtardError(refused(f"all steps are done, but cannot write {path}", error)) from error
    return path


def save_last(peer: Peer, task: Task, folder: Path) -> str:
    """Save the model of a peer that stopped for good, if it has one; return what to add to its line."""
    said: list[str] = []
    over = threading.Event()

    def work() -> None:
        try:
            said.append(_save_last(peer, task, folder))
        finally:
            over.set()

    # Where computations run: one that the peer does not wait for any more may be changing the model.
    peer.host.submit("last model", work)
    over.wait()
    return "".join(said)


def _save_last(peer: Peer, task: Task, folder: Path) -> str:
    state = peer.state
    done = min(state.model_step - 1, peer.config.parameters.steps)
    if done < 1:
        return ""
    path = folder / f"model-step-{done}.safetensors"
    try:
        if task.model_digest() != state.model_digest and not _recalled(peer):
            return ""
        save_model(task, path, peer.config.run, done)
    except (OSError, BtardError) as error:
        return f"; its last model is not saved ({refused(f'cannot write {path}', error)})"
    return f"; its model after step {done} is in {path}"


def _recalled(peer: Peer) -> bool:
    """Put the model that the state names in place of another one: an earlier one, or the next."""
    step, name = peer.state.model_step, peer.state.model_digest
    data = peer.models.read(name) if peer.models else None
    return data is not None and peer.backend.recall(step, data) == name
