"""The real cores, one event at a time: computations are done at once, and what was seen before is looked up.

States, frames, timers and logs get small numbers, so that a world is a tuple of numbers and an event that met a
peer in the same state before costs a look-up.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

from attrs import define, field, frozen

from btard.hashing import digest
from btard.statemachine import compute as cp
from btard.statemachine import effects as fx
from btard.statemachine.config import Config
from btard.statemachine.events import Computed, Event, Held, Received
from btard.statemachine.evidence import opening_fails, signature_holds
from btard.statemachine.handle import handle
from btard.statemachine.messages import (
    Accuse,
    Bulk,
    Certificate,
    CommitClass,
    Epoch,
    Reduce,
    Stay,
    phase_slot,
)
from btard.statemachine.state import State
from btard.statemachine.table import STEP_PHASES, Phase
from fuzz.search.forget import forget
from fuzz.world import Oracle

Log = tuple[tuple[Any, ...], ...]


def entropy(peer: int, epoch: int, step: int, variant: int = 0) -> bytes:
    """Return what an operating system would draw for a step: 128 bytes that depend on the place alone."""
    place = bytes([peer, epoch, step, variant])
    return b"".join(digest("entropy", place, bytes([piece])) for piece in range(4))


class Numbers:
    """Small numbers for values, in the order in which they come."""

    def __init__(self) -> None:
        self._values: list[Any] = []
        self._numbers: dict[Hashable, int] = {}

    def of(self, value: Hashable) -> int:
        """Return the number of a value, a new one where it is new."""
        number = self._numbers.setdefault(value, len(self._values))
        if number == len(self._values):
            self._values.append(value)
        return number

    def __getitem__(self, number: int) -> Any:
        return self._values[number]

    def __len__(self) -> int:
        return len(self._values)


@frozen
class Outcome:
    """What one event did to one peer, all by number; ``fault`` says what must never happen."""

    state: int
    sends: tuple[tuple[int, int], ...] = ()  # receiver, event that it is there
    timers: tuple[tuple[int, int], ...] = ()  # timer, milliseconds
    offers: tuple[tuple[bytes, tuple[int, ...] | None], ...] = ()
    fetches: tuple[tuple[int, Bulk], ...] = ()
    log: Log = ()
    released: bool = False
    fault: str | None = None


def stops_alone(state: State, effect: fx.Stopped | fx.Halted) -> bool:
    """Whether a peer may end like this while the times hold: where an epoch leaves too few."""
    return effect.reason.startswith("2 peers are left") and state.epoch > 0


@define
class Cores:
    """All peers' cores, with what they were seen to do."""

    configs: list[Config]
    oracle: Oracle
    forget: Callable[[State], State] = forget
    bears: Callable[[State, fx.Stopped | fx.Halted], bool] = stops_alone
    states: Numbers = field(factory=Numbers)
    events: Numbers = field(factory=Numbers)
    timers: Numbers = field(factory=Numbers)
    logs: Numbers = field(factory=Numbers)
    _seen: dict[tuple[int, int, int], Outcome] = field(factory=dict)

    def step(self, peer: int, state: int, event: int) -> Outcome:
        """Return what an event does to a peer in a state."""
        key = (peer, state, event)
        outcome = self._seen.get(key)
        if outcome is None:
            outcome = self._seen[key] = self._step(peer, self.states[state], self.events[event])
        return outcome

    def _step(self, peer: int, state: State, first: Event) -> Outcome:
        done: list[fx.Effect] = []
        log: list[tuple[Any, ...]] = []
        pending = [first]
        try:
            while pending:
                before = state
                state, effects = handle(self.configs[peer], state, pending.pop(0))
                done += effects
                log += self._noted(before, state, effects)
                pending += [
                    self._computed(peer, before, e.request) for e in effects if isinstance(e, fx.Compute)
                ]
                pending += [
                    Held(e.digest, e.size)
                    for e in effects
                    if isinstance(e, fx.Fetch) and Bulk(e.digest, e.size) in state.held
                ]
        except Exception as error:  # noqa: BLE001 - whatever it is, the core must not raise it
            return Outcome(0, fault=f"peer {peer} raised {type(error).__name__}: {error}")
        return self._outcome(peer, self.forget(state), done, tuple(log))

    def _computed(self, peer: int, before: State, request: cp.Request) -> Computed:
        step = getattr(request, "step", 0)
        drawn = entropy(peer, getattr(request, "epoch", 0), step)
        return Computed(request, self.oracle.compute(peer, request, drawn))

    def _outcome(self, peer: int, state: State, done: list[fx.Effect], log: Log) -> Outcome:
        sends, timers, offers, fetches = [], [], [], []
        for effect in done:
            match effect:
                case fx.Send():
                    event = self.events.of(Received(peer, effect.frame))
                    sends += [(receiver, event) for receiver in effect.to]
                case fx.SetTimer():
                    timers.append((self.timers.of(effect.timer), effect.delay))
                case fx.Offer():
                    offers.append((effect.digest, effect.to))
                case fx.Fetch() if Bulk(effect.digest, effect.size) not in state.held:
                    fetches.append((effect.source, Bulk(effect.digest, effect.size)))
        alive = tuple((timer, delay) for timer, delay in timers if timer_counts(self.timers[timer], state))
        return Outcome(
            self.states.of(state),
            tuple(sends),
            alive,
            tuple(offers),
            tuple(dict.fromkeys(fetches)),
            log,
            any(isinstance(effect, fx.Released) for effect in done),
            self._fault(state, done),
        )

    def _noted(self, before: State, after: State, effects: tuple[fx.Effect, ...]) -> list[tuple[Any, ...]]:
        """Return what all honest peers must come to agree on, applied steps and epochs; and signed records."""
        noted: list[tuple[Any, ...]] = []
        for effect in effects:
            if isinstance(effect, fx.Certified):
                noted.append(("applied", effect.step, before.epoch, after.last))
            if isinstance(effect, fx.RosterChanged):
                place = (after.first_step, after.roster, after.banned, after.opening)
                noted.append(("epoch", effect.epoch, *place))
            message = effect.envelope.message if isinstance(effect, fx.Persist) else None
            if message is not None and isinstance(message.body, Epoch | Stay):
                noted.append(("signed", message.epoch, message.slot, message.body))
        return noted

    def _fault(self, state: State, done: list[fx.Effect]) -> str | None:
        for effect in done:
            reason = None
            if isinstance(effect, fx.Certified):
                reason = self._uncertified(state, effect.step)
            elif isinstance(effect, fx.Entered) and effect.phase is Phase.REVEAL and effect.step:
                reason = _unheld(state)
            elif isinstance(effect, fx.Entered) and effect.phase in (Phase.VALIDATE, Phase.COMMIT, Phase.DONE):
                reason = self._opened_otherwise(state)
            elif isinstance(effect, fx.Stopped | fx.Halted) and not self.bears(state, effect):
                reason = f"an honest peer stopped or halted: {effect.reason}"
            if reason:
                return reason
        return None

    def _opened_otherwise(self, state: State) -> str | None:
        """Say whose opening of the messages at hand does not fit its COMMIT."""
        for slot, envelope in state.slots.items():
            if slot[0] == "phase" and slot[3] in (Phase.REVEAL, Phase.ACCUSE) and slot[1] == state.epoch:
                committed = state.slots.get((*slot[:3], int(Phase.COMMIT), slot[4]))
                if committed and opening_fails(self.configs[0], committed, envelope):
                    return f"peer {slot[4]} opened another value than it had committed to, and nobody minded"
        return None

    def _uncertified(self, state: State, step: int) -> str | None:
        """Say why a step must not have been applied; None where n ``ok`` of one transcript are here."""
        held, roster = state.certificate, state.roster
        if held is None and state.epoch:  # applied as the epoch was entered
            passage, roster = state.passages[state.epoch - 1], state.rosters[state.epoch - 1]
            chain = passage.certificate
            if chain and isinstance(chain.klass, CommitClass) and isinstance(chain.object, Certificate):
                held = chain.klass, chain.object
        if held is None:
            return f"step {step} applied without a certificate"
        klass, certificate = held
        said = [envelope.message for envelope in certificate.envelopes]
        bodies = [message.body for message in said if message and isinstance(message.body, Accuse)]
        right = klass.step == step and all(
            (body.step, body.claim, body.prev) == (step, None, klass.prev) for body in bodies
        )
        authors = tuple(envelope.author for envelope in certificate.envelopes)
        signed = all(signature_holds(self.configs[0], envelope) for envelope in certificate.envelopes)
        if right and signed and authors == roster and len(bodies) == len(authors):
            return None
        return f"step {step} applied with something that is no certificate"


def _unheld(state: State) -> str | None:
    """Say that aggregates of the step are counted, but not here."""
    here = {bulk.digest for bulk in state.held}
    for peer in state.roster:
        said = state.slots.get(phase_slot(state.epoch, state.at.number, Phase.REDUCE, peer))
        body = said.message.body if said and said.message else None
        if isinstance(body, Reduce) and body.aggregate and body.aggregate not in here:
            return f"the aggregate of peer {peer} counts, but is not here"
    return None


def timer_counts(timer: fx.Timer, state: State) -> bool:
    """Whether a timer can still do anything: no epoch, step or phase comes a second time."""
    phase = int(state.phase)
    if state.phase is Phase.STOPPED:
        return False
    match timer:
        case ("phase" | "watch" as name, epoch, step, at):
            return (epoch, step, at) == (state.epoch, state.at.number, phase) and bool(name)
        case ("pull", epoch, step, at, _):
            return (epoch, step, at) == (state.epoch, state.at.number, phase)
        case ("bulk" | "need", epoch, step, *_):
            return (epoch, step) == (state.epoch, state.at.number) and state.phase <= Phase.REDUCE
        case ("publish" | "judge", epoch, step, *_):
            return (epoch, step) == (state.epoch, state.at.number) and state.phase in STEP_PHASES
        case ("settle" | "outcome" | "settled", epoch, *_):
            return epoch == state.epoch and state.phase is Phase.SETTLE
        case ("ratify" | "linger", epoch):
            return epoch == state.epoch and state.phase is not Phase.HALTED
        case ("poll", epoch):
            return epoch == state.epoch and state.phase is Phase.HALTED
        case ("remind", epoch):
            first = state.phase is Phase.COMMIT and state.at.number == state.first_step
            return epoch == state.epoch and first
    return True
