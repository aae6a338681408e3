"""One call of `handle`: the state as it evolves, and the effects in their order."""

from __future__ import annotations

from typing import Any

from attrs import evolve

from btard.hashing import digest
from btard.statemachine import effects as fx
from btard.statemachine.compute import Request
from btard.statemachine.config import Config
from btard.statemachine.messages import Body, Bulk, Digest, Envelope, Frame, Message, phase_slot
from btard.statemachine.state import State, Step
from btard.statemachine.table import STEP_PHASES, TRANSITIONS, Phase, Trigger
from btard.wire import encode_payload, message_hash, signed_content


class ProtocolBug(AssertionError):
    """The core tried a move that the specification does not list: a fault of ours, never of the network."""


class Turn:
    """Collects what one event does; lives only as long as one call of `handle`."""

    def __init__(self, config: Config, state: State) -> None:
        self.config = config
        self.state = state
        self.effects: list[fx.Effect] = []

    # -- state ------------------------------------------------------------------------------------------

    @property
    def at(self) -> Step:
        """The current step."""
        return self.state.at

    @property
    def me(self) -> int:
        """This peer's index."""
        return self.config.me

    def set(self, **changes: Any) -> None:
        """Change fields of the state."""
        self.state = evolve(self.state, **changes)

    def set_step(self, **changes: Any) -> None:
        """Change fields of the current step."""
        self.set(at=evolve(self.state.at, **changes))

    def move(self, trigger: Trigger, to: Phase) -> None:
        """Change phase, if the transition table allows it (spec STP-1)."""
        if (self.state.phase, trigger, to) not in TRANSITIONS:
            raise ProtocolBug(f"{self.state.phase.name} has no transition on '{trigger}' to {to.name}")
        self.set(phase=to)
        if to in STEP_PHASES:
            self.set_step(phase=to)
        self.emit(fx.Entered(self.state.epoch, self.at.number, to))

    def stop(self, reason: str) -> None:
        """Stop for good: sign nothing more (spec AGR-18)."""
        if self.state.phase is not Phase.STOPPED:
            self.move(Trigger.STOP, Phase.STOPPED)
            self.emit(fx.Stopped(reason))

    # -- effects ----------------------------------------------------------------------------------------

    def emit(self, effect: fx.Effect) -> None:
        """Append an effect."""
        self.effects.append(effect)

    def compute(self, request: Request) -> None:
        """Ask the backend."""
        self.emit(fx.Compute(request))

    def timer(self, delay: int, *name: str | int) -> None:
        """Set a timer, ``delay`` in milliseconds."""
        self.emit(fx.SetTimer(name, delay))

    def others(self) -> tuple[int, ...]:
        """The other members."""
        return tuple(peer for peer in self.state.roster if peer != self.me)

    def send(self, frame: Frame, to: tuple[int, ...] | None = None) -> None:
        """Send a frame to some, or to all other members."""
        receivers = self.others() if to is None else to
        if receivers:
            self.emit(fx.Send(receivers, frame))

    def sign(self, body: Body) -> Envelope:
        """Sign a message for its slot, make it durable, file it and broadcast it (spec MSG-5, MSG-7)."""
        message = Message(self.state.epoch, self.me, body)
        if message.slot in self.state.slots:
            raise ProtocolBug(f"a second message for slot {message.slot}")
        payload = encode_payload(message.epoch, body)
        signature = self.config.sign(signed_content(self.config.run, payload))
        envelope = Envelope(self.me, payload, signature, message_hash(self.me, payload), message)
        self.set(slots=self.state.slots.insert(message.slot, envelope))
        self.emit(fx.Persist(envelope))
        self.send(envelope)
        return envelope

    # -- lookups ----------------------------------------------------------------------------------------

    def phase_message(self, phase: Phase, author: int) -> Envelope | None:
        """The current step's message of a phase, if there is one."""
        return self.state.slots.get(phase_slot(self.state.epoch, self.at.number, phase, author))

    def prev(self) -> Digest:
        """What ``prev`` must be in the current phase: the view of the phase before (spec AGR-2)."""
        return self.at.views[-1] if self.at.views else self.state.opening

    def view(self, phase: Phase) -> Digest:
        """Hash of all members' messages of a phase, in roster order (spec AGR-2)."""
        hashes = []
        for author in self.state.roster:
            envelope = self.phase_message(phase, author)
            if envelope is None:
                raise ProtocolBug(f"{phase.name} left without the message of peer {author}")
            hashes.append(envelope.hash)
        return digest("view", *hashes)

    def holds(self, *objects: Bulk) -> bool:
        """Whether all these objects are here, with these sizes."""
        return all(bulk in self.state.held for bulk in objects)

    def hold(self, *objects: Bulk) -> None:
        """Note objects that are here, for the current step."""
        held = self.state.held
        for bulk in objects:
            held = held.insert(bulk, self.at.number)
        self.set(held=held)
