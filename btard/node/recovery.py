"""A peer that comes back: its state from the journal, and what was under way is taken up again (spec OPS-5).

What others served is on disk (spec OPS-17); what is not, or was damaged, is fetched again. The own parts and
the own aggregate are computed again, and have to come out as they were. What lacks an object waits for it.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, cast

from attrs import evolve, frozen

from btard.node.journal import Journal, JournalError
from btard.node.outstanding import Outstanding, Wanted
from btard.node.store import MissingObjectError
from btard.statemachine import effects as fx
from btard.statemachine.checks import part_size
from btard.statemachine.compute import (
    Aggregate,
    Aggregated,
    Apply,
    Load,
    Prepare,
    Prepared,
    Request,
    Result,
    Save,
)
from btard.statemachine.config import Config
from btard.statemachine.events import Returned
from btard.statemachine.handle import handle, initial
from btard.statemachine.messages import Digest, Reduce
from btard.statemachine.results import counts
from btard.statemachine.state import State
from btard_transports.interface import Failure

if TYPE_CHECKING:
    from btard.node.peer import Peer

GENESIS_STEP: Final = 1  # the model before it is the task's own
_ON_THE_MODEL: Final = (Prepare, Apply, Load, Save)  # what moves it, or reads it as it is when their turn comes


@frozen
class Remembered:
    """What a journal holds: the state, what is under way, and why the peer stopped, if it did."""

    state: State
    outstanding: Outstanding
    reason: str | None


def remember(config: Config, journal: Journal) -> Remembered:
    """Replay the journal (spec OPS-5). Raises JournalError where it contradicts what was signed."""
    saved = journal.saved
    if saved is None:
        return Remembered(initial(config), Outstanding(), None)
    state, outstanding, reason = saved.state, saved.outstanding, None
    for event in saved.events:
        state, effects = handle(config, state, event)
        outstanding.follow(event, effects, state.at.number)
        for effect in effects:
            if isinstance(effect, fx.Persist):
                journal.sign(effect.envelope)
            if isinstance(effect, fx.Stopped):
                reason = effect.reason
    journal.saved = None  # its memory is not needed twice
    return Remembered(state, outstanding, reason)


@frozen
class Attempt:
    """The token of a computation that may lack an object; ``expected`` is what it gave before the peer went."""

    request: Request
    expected: Result | None


@frozen
class Recall:
    """The token of putting the models in place."""


class Recovery:
    """Takes up what was under way; the peer hands it computations until every object is here again."""

    def __init__(self, peer: Peer) -> None:
        self._peer, self._outstanding = peer, peer.outstanding
        made = self._outstanding.made
        self._queue = deque(Attempt(request, None) for request in self._outstanding.computing)
        self._aggregates = [Attempt(*entry) for entry in made if isinstance(entry[0], Aggregate)]
        self._offers = dict(self._outstanding.offers)
        self._lost = dict(self._outstanding.wanted)
        for attempt in self._aggregates:
            self._lost.update(self._own_aggregate(attempt))
        self._lost_at_first = frozenset(self._lost)
        self._recalled = False  # whether the models are in place, and what was kept
        self._busy = False
        self._lacking: set[Attempt] = set()  # they lack an object
        self._came = False  # an object, since the computation under way began

    def _own_aggregate(self, attempt: Attempt) -> dict[Digest, Wanted]:
        match attempt.request, attempt.expected:
            case Aggregate() as request, Aggregated() as result:
                size = part_size(self._peer.config.parameters.dimension, request.parts, request.part)
                return {result.digest: Wanted((), request.step, size)}
        return {}

    @property
    def over(self) -> bool:
        """Whether everything is as if the peer had never been away."""
        return self._recalled and not (self._busy or self._queue or self._lost)

    def begin(self) -> None:
        """Put models, own parts and what was kept in place; all else follows when that is done."""
        self._peer.host.submit(Recall(), self.recall)

    # -- models and own parts, where computations run -----------------------------------------------------

    def recall(self) -> list[Attempt]:
        """Load what was kept, and the last two models, as far as they are there; make the own parts at each.

        Returns what has to be computed before anything else: an update that is not on disk and what follows it.
        """
        if self._peer.kept is not None:
            for step, name, data in self._peer.kept.read(self._lost_at_first):
                self._peer.backend.store.add_fetched(name, data, step)
        models, made, found = self._outstanding.models, self._outstanding.made, set[int]()
        own = [Attempt(evolve(r, audit=None), result) for r, result in made if isinstance(r, Prepare) and r.own]
        for step, name in models:
            if self._load(step, name):
                found.add(step)
                for attempt in own:
                    if attempt.request.step == step:
                        _compare(attempt, self._peer.backend.compute(attempt.request))
        (last, name) = models[-1]
        saves = [Attempt(r, result) for r, result in made if isinstance(r, Save) and r.digest == name]
        if last in found:
            return saves
        updates = [Attempt(r, result) for r, result in made if isinstance(r, Apply) and r.step == last - 1]
        if last - 1 not in found or not updates:
            raise JournalError(
                f"the model before step {last} is not on disk as the journal knows it, so this peer cannot go "
                "on: restore the folder as it was last, or go on without this peer"
            )
        return [*updates, *(attempt for attempt in own if attempt.request.step == last), *saves]

    def _load(self, step: int, name: Digest) -> bool:
        if step == GENESIS_STEP:
            return True
        data = self._peer.models.read(name) if self._peer.models else None
        return data is not None and self._peer.backend.recall(step, data) == name

    # -- all else -----------------------------------------------------------------------------------------

    def recalled(self, first: list[Attempt]) -> None:
        """Say again what was said, set timers, ask for objects; ``first`` is to be computed before the rest."""
        peer, state = self._peer, self._peer.state
        self._recalled = True
        self._queue.extendleft(reversed(first))
        for timer, delay in self._outstanding.timers.items():
            # The rounds of an agreement are over when the others say so: those here would be later (AGR-13).
            if timer[0] not in ("settle", "outcome"):
                peer.perform(fx.SetTimer(timer, delay))
        others = tuple(member for member in state.roster if member != peer.config.me)
        for _, envelope in sorted(state.slots.items(), key=repr):
            if envelope.author == peer.config.me:
                peer.perform(fx.Send(others, envelope))
        aggregates = {*(state.last.aggregates if state.last else ())}
        bodies = [envelope.message.body for envelope in state.slots.values() if envelope.message]
        aggregates |= {body.aggregate for body in bodies if isinstance(body, Reduce)}
        ready = filter(self._can_aggregate, self._aggregates)  # what is computed again need not be fetched
        made = {name for attempt in ready for name in self._own_aggregate(attempt)}
        for name, wanted in list(self._lost.items()):
            data = peer.backend.store.data(name)
            if data is not None and peer.backend.store.keep(name, wanted.step):
                peer.hold(name, data, wanted.step)
                continue
            # Everybody serves an aggregate; a part, only who contributed it.
            sources = [source for source in wanted.sources if source in others]
            for source in () if name in made else others if name in aggregates else sources:
                if wanted.size is None:
                    peer.perform(fx.FetchModel(source, name, wanted.step))
                else:
                    peer.perform(fx.Fetch(source, name, wanted.size, wanted.step))
        self.look()
        peer.feed(Returned())  # the others are asked for all that it missed

    def offer(self, name: Digest) -> None:
        """Offer an object, as the peer has noted, when it is here."""
        self._offers[name] = self._outstanding.offers[name]

    def compute(self, request: Request) -> None:
        """Compute after all that waits already."""
        self._queue.append(Attempt(request, None))
        self.look()

    def look(self) -> None:
        """Do what can be done now: call it when an object came."""
        if not self._recalled:
            return
        store = self._peer.backend.store
        for name in [name for name in self._offers if store.data(name) is not None]:
            to = self._offers.pop(name).to
            self._peer.perform(fx.Offer(name, None if to is None else tuple(sorted(to))))
        for name in [name for name in self._lost if store.data(name) is not None]:
            del self._lost[name]
            self._lacking.clear()
            self._came = True
        if self._busy:
            return
        attempt = next(filter(self._can_aggregate, self._aggregates), None)
        if attempt is not None:
            self._aggregates.remove(attempt)
        else:
            attempt = self._next()
        if attempt is not None:
            self._busy, self._came = True, False
            self._peer.submit(attempt, attempt.request)

    def _next(self) -> Attempt | None:
        """The first that counts and lacks nothing; what rests on the model overtakes nothing (spec OPS-21)."""
        state = self._peer.state
        self._queue = deque(at for at in self._queue if at.expected is not None or counts(state, at.request))
        for attempt in self._queue:
            if attempt not in self._lacking:
                first = attempt is self._queue[0]
                return attempt if first or not isinstance(attempt.request, _ON_THE_MODEL) else None
        return None

    def _can_aggregate(self, attempt: Attempt) -> bool:
        store, request = self._peer.backend.store, attempt.request
        if not isinstance(request, Aggregate) or not self._own_aggregate(attempt).keys() & self._lost.keys():
            return False
        return all(store.data(name) is not None for name in request.objects)

    def done(self, attempt: Attempt, result: object) -> None:
        """An attempt is over: it lacked an object, or its result is that of the computation."""
        self._busy = False
        if isinstance(result, Failure) and isinstance(result.exception, MissingObjectError):
            if not self._came:  # else what it lacked may have come meanwhile
                self._lacking.add(attempt)
        else:
            if attempt in self._queue:
                self._queue.remove(attempt)
            if isinstance(result, Failure) or attempt.expected is None:
                if not isinstance(result, Failure):
                    self._peer.follow_up(attempt.request)
                self._peer.computed(attempt.request, result)
            else:
                try:
                    _compare(attempt, cast(Result, result))
                except JournalError as error:
                    self._peer.fail(str(error))
                    return
        self.look()

    def discard(self, before: int) -> None:
        """Nobody needs objects of steps before this one any more."""
        self._lost = {name: wanted for name, wanted in self._lost.items() if wanted.step >= before}
        self._offers = {name: offered for name, offered in self._offers.items() if offered.step >= before}
        self._aggregates = [attempt for attempt in self._aggregates if attempt.request.step >= before]


def _compare(attempt: Attempt, result: Result) -> None:
    """Check that a computation came out as before. Raises JournalError."""
    match attempt.expected, result:
        case Prepared() as before, Prepared() as now:
            same = before.parts == now.parts
        case before, now:
            same = before == now
    if not same:
        what = type(attempt.request).__name__.lower()
        raise JournalError(
            f"step {attempt.request.step}: '{what}' came out other than before this peer went away, and what "
            "it signed rests on it: use the same machine, torch and settings as before, and check its memory"
        )
