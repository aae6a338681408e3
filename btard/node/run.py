"""One peer of a run over ZeroMQ, from its files to its summary."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Any, Final

import attrs
import structlog

from btard.attacks.byzantine import ByzantineBackend, ByzantinePeer
from btard.attacks.names import AttackSpec, make_attack
from btard.disk import make_folder
from btard.errors import BtardError
from btard.genesis import GenesisMismatchError, RunFile
from btard.keys import KeyPair, verify
from btard.ledger.file import Ledger
from btard.node import resuming
from btard.node.bookkeeping import keep_ledger
from btard.node.events import EventLog, json_logger, readable_logger
from btard.node.hello import Hello
from btard.node.interrupted import Interrupted
from btard.node.journal import Journal, journal_path
from btard.node.kept_objects import KeptObjects
from btard.node.model_files import ModelFiles
from btard.node.peer import Peer
from btard.node.saving import MODEL, save_last, save_trained
from btard.node.status_file import locked
from btard.node.watch import Watch
from btard.node.words import Names, Narrator
from btard.runfile import dump
from btard.statemachine.config import Config
from btard.training.backend import Backend
from btard.training.canary import canary
from btard.training.loading import make_task
from btard.training.numerics import described, fingerprint, mixed_problems, set_deterministic
from btard.training.task import Task
from btard.wire import max_frame
from btard_transports.interface import MAX_FRAME, Endpoint, PortInUseError
from btard_transports.zmq_mesh import ZmqMesh


@attrs.frozen
class Options:
    """Settings of this node alone; no other peer needs to know them."""

    run_path: Path
    out: Path
    device: str = "cpu"
    threads: int = 1  # of torch on the CPU
    bind_control: str | None = None
    bind_bulk: str | None = None
    attack: AttackSpec | None = None
    wait: float = 60.0  # seconds to wait for the other peers before the start
    json: bool = False
    verbose: bool = False


PORT_SECONDS: Final = 4.0  # until a port that is in use stays so


class StoppedError(BtardError):
    """This peer stopped before the run was finished; the message says why in one line."""


def run_peer(genesis: RunFile, keys: KeyPair, options: Options) -> None:
    """Take part in a run until it is finished.

    Raises BtardError, in a line, for what keeps it from starting or makes it stop; KeyboardInterrupt on SIGINT
    and SIGTERM.
    """
    me = genesis.index_of(keys.sign_public, keys.curve_public)
    names = Names([peer.name for peer in genesis.peers])
    if options.json:
        json_logger()
    else:
        readable_logger(names.of(me), names)
    structlog.get_logger().info(f"loading the task {genesis.task.name}")
    task = load_task(genesis, options)
    make_folder(options.out)
    with contextlib.ExitStack() as closing:
        closing.enter_context(_terminated_as_interrupted())
        closing.enter_context(locked(options.out))
        narrator = None if options.json else _narrator(genesis, names, options)
        log = EventLog(options.out / "events.jsonl", narrator, options.verbose, genesis.run_id.hex())
        closing.callback(log.close)
        mesh = closing.enter_context(_listening(genesis, me, keys, options))
        kept = KeptObjects(options.out, genesis.run_id)
        journal = Journal(
            journal_path(options.out, genesis.run_id), genesis.run_id, keys.sign_public, version("btard")
        )
        closing.callback(journal.close)
        base = str(options.run_path.parent.absolute())
        ledger = keep_ledger(options.out, genesis.run_id, dump(genesis), base, journal, partial(_warn, log))
        closing.callback(ledger.close)
        models = ModelFiles(options.out, genesis.run_id)
        closing.callback(models.close)
        peer = make_peer(genesis, me, keys, task, mesh, journal, ledger, log, options, models, kept)
        peer.remember()
        if peer.released:
            _say_finished(peer, task, genesis, options, log)
            return
        if peer.failure is not None:
            log("stopped", reason=peer.failure)  # it has no part in the run any more (spec OPS-8)
            raise StoppedError(names.put(peer.failure))
        own = genesis.peers[me]
        log(
            "listening",
            run=genesis.run_id.hex(),
            control=options.bind_control or own.control,
            bulk=options.bind_bulk or own.bulk,
        )
        resuming.taken(options.out, peer.state.epoch)  # what was asked of an earlier process
        peer.begin()
        watch = closing.enter_context(Watch(peer, options.out, _constant(genesis, me), log.figures, log))

        def over() -> bool:
            interrupted.check()
            watch.look()
            if peer.state.halted:
                without = resuming.taken(options.out, peer.state.epoch)
                if without is not None:
                    peer.resume(without)
            return peer.over

        with Interrupted() as interrupted:
            mesh.run(peer, over)
        if peer.failure is None:
            _save(task, genesis, options, log)
            models.remove()
            kept.remove()
        left = "" if peer.failure is None else save_last(peer, task, options.out)
        log("summary", **_summary(peer, genesis.parameters.steps, mesh, log), **_excesses(peer))
        if peer.failure is not None:
            raise StoppedError(names.put(peer.failure) + left)


def _narrator(genesis: RunFile, names: Names, options: Options) -> Narrator:
    return Narrator(names, genesis.parameters.steps, f"btard status --out {options.out}")


def _warn(log: EventLog, reason: str) -> None:
    log("error", reason=reason)


def _save(task: Task, genesis: RunFile, options: Options, log: EventLog) -> None:
    path = save_trained(task, options.out, genesis.run_id, genesis.parameters.steps)
    log("saved", path=str(path))


def _say_finished(peer: Peer, task: Task, genesis: RunFile, options: Options, log: EventLog) -> None:
    """Say that there is nothing more to do; save the model where the peer did not come to that (spec OPS-8)."""
    log("finished_before", digest=peer.state.model_digest.hex(), path=str(options.out / MODEL))
    if not (options.out / MODEL).exists():
        peer.recall_last()
        _save(task, genesis, options, log)


def _constant(genesis: RunFile, me: int) -> dict[str, Any]:
    """What a peer's status says of it from beginning to end."""
    names = [peer.name for peer in genesis.peers]
    return {"run": genesis.name, "run_id": genesis.run_id.hex(), "peer": me, "names": names, "pid": os.getpid()}


def load_task(genesis: RunFile, options: Options) -> Task:
    """Return the genesis' task, with its identity checked (spec GEN-6, GEN-9). Raises BtardError."""
    set_deterministic(options.threads)
    task = make_task(
        genesis.task.name, genesis.task.options, genesis.seed, options.device, options.run_path.parent
    )
    problems = list(genesis.task_problems(task.dimension, task.model_digest(), task.data_digest()))
    if genesis.numerics == "tolerant":
        problems += mixed_problems(task)
    if problems:
        raise GenesisMismatchError("\n".join(problems))
    return task


def _listening(genesis: RunFile, me: int, keys: KeyPair, options: Options) -> ZmqMesh:
    """Listen; a process that was killed may hold the ports for a moment (spec OPS-9). Raises TransportError."""
    deadline = time.monotonic() + PORT_SECONDS
    while True:
        try:
            return _mesh(genesis, me, keys, options)
        except PortInUseError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(PORT_SECONDS / 20)


def _mesh(genesis: RunFile, me: int, keys: KeyPair, options: Options) -> ZmqMesh:
    endpoints = {
        index: Endpoint(peer.control, peer.bulk, peer.curve_key) for index, peer in enumerate(genesis.peers)
    }
    return ZmqMesh(
        me,
        endpoints,
        keys,
        bind_control=options.bind_control,
        bind_bulk=options.bind_bulk,
        # What a cheat sends is for the others to refuse.
        max_frame=max_frame(len(genesis.peers)) if options.attack is None else MAX_FRAME,
        bulk_security="curve" if genesis.bulk_security == "curve" else "digest",
    )


def make_peer(
    genesis: RunFile,
    me: int,
    keys: KeyPair,
    task: Task,
    host: Any,
    journal: Journal | None,
    ledger: Ledger,
    log: Any,
    options: Options,
    models: ModelFiles | None = None,
    kept: KeptObjects | None = None,
) -> Peer:
    """Put a peer together around any host."""
    numerics = fingerprint(task)
    config = Config(
        run=genesis.run_id,
        me=me,
        keys=tuple(peer.sign_key for peer in genesis.peers),
        parameters=genesis.parameters,
        timing=genesis.timing,
        sign=keys.sign,
        verify=verify,
    )
    gradient = canary(task, len(genesis.peers))
    hello = Hello(
        version=version("btard"),
        run=genesis.run_id,
        model=task.model_digest(),
        canary=gradient.digest,
        scalars=gradient.scalars,
        numerics=attrs.asdict(numerics),
        start=os.urandom(8),
    )
    mixed = genesis.numerics == "tolerant"
    numbers = (task, genesis.parameters, genesis.evaluate_every, lambda line: log("error", reason=line), mixed)
    settings: dict[str, Any] = {
        "config": config,
        "host": host,
        "journal": journal,
        "ledger": ledger,
        "models": models,
        "kept": kept,
        "hello": hello,
        "differences": numerics.differences,
        "described": described,
        "tolerance": genesis.parameters.gradient_rtol / 4 if mixed else None,
        "report": log,
        "wait_limit": options.wait,
    }
    if options.attack is None:
        return Peer(backend=Backend(*numbers), **settings)
    attack = make_attack(options.attack)
    return ByzantinePeer(backend=ByzantineBackend(*numbers, attack=attack), attack=attack, **settings)


def _summary(peer: Peer, steps: int, mesh: ZmqMesh, log: EventLog) -> dict[str, Any]:
    reached = peer.state.model_step - 1
    return {
        "digest": peer.state.model_digest.hex(),
        "steps": min(reached, steps),
        "closing_steps": max(0, reached - steps),
        "failure": peer.failure,
        "bytes": {"bulk": mesh.counters.bulk_bytes_sent, "control": mesh.counters.control_bytes_sent},
        "expelled": log.expelled,
        "accuracies": log.accuracies,
        "losses": log.losses,
    }


def _excesses(peer: Peer) -> dict[str, dict[int, float]]:
    """How far each peer's gradients were off from those here, in units of what judges let pass (TOL-4)."""
    backend = peer.backend
    return {"excesses": backend.excesses} if isinstance(backend, Backend) else {}


@contextlib.contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Let SIGTERM end the process as Ctrl-C does: sockets closed, nothing left behind."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
