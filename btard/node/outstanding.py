"""What is under way besides the state: what a peer has to take up again when it comes back (spec OPS-6)."""

from __future__ import annotations

from typing import Final

from attrs import define, field, frozen

from btard.statemachine import effects as fx
from btard.statemachine.compute import Aggregate, Applied, Apply, Load, Loaded, Prepare, Request, Result, Save
from btard.statemachine.effects import Effect, Timer
from btard.statemachine.events import Computed, Event, Fired, Start
from btard.statemachine.messages import Digest
from btard.statemachine.table import Phase

# Timers that name epoch and step first.
_OF_A_STEP: Final = ("phase", "watch", "pull", "bulk", "publish", "judge", "need")


@frozen
class Wanted:
    """An object that was asked for: of whom, for which step, and its size; None for that of a model."""

    sources: tuple[int, ...]
    step: int
    size: int | None


@frozen
class Offered:
    """To whom an object is served, None for everybody, and the step in which that was last said."""

    to: frozenset[int] | None
    step: int


@define
class Outstanding:
    """Requests without a result, timers that run, objects asked for, offered and made, and the last two models.

    It follows from the events and their effects, as the state does, and is no larger than what two steps need.
    """

    computing: tuple[Request, ...] = ()
    made: tuple[tuple[Request, Result], ...] = ()  # what put objects into the store
    timers: dict[Timer, int] = field(factory=dict)  # delays in milliseconds
    wanted: dict[Digest, Wanted] = field(factory=dict)
    offers: dict[Digest, Offered] = field(factory=dict)
    models: tuple[tuple[int, Digest], ...] = ()  # the step each stands before

    def follow(self, event: Event, effects: tuple[Effect, ...], step: int) -> None:
        """Take note of an event and of what the state machine, now in ``step``, wanted done."""
        match event:
            case Start():
                self.models = ((1, event.model_digest),)
            case Fired():
                self.timers.pop(event.timer, None)
            case Computed():
                self._computed(event.request, event.result)
        for effect in effects:
            self._wanted_done(effect, step)

    def _computed(self, request: Request, result: Result) -> None:
        if request in self.computing:
            place = self.computing.index(request)
            self.computing = (*self.computing[:place], *self.computing[place + 1 :])
        if isinstance(request, Prepare | Aggregate | Apply | Save):
            self.made = (*self.made, (request, result))
        match request, result:
            case Apply(), Applied():
                self.models = (*self.models[-1:], (request.step + 1, result.digest))
            case _, Loaded():
                self.models = (*self.models[:-1], (self.models[-1][0], result.digest))

    def _wanted_done(self, effect: Effect, step: int) -> None:
        match effect:
            case fx.Compute():
                self.computing = (*self.computing, effect.request)
            case fx.SetTimer():
                self.timers[effect.timer] = effect.delay
            case fx.Fetch():
                self._want(effect.digest, effect.source, effect.step, effect.size)
            case fx.FetchModel():
                self._want(effect.digest, effect.source, effect.step, None)
            case fx.Offer():
                before = self.offers.get(effect.digest, Offered(frozenset(), step)).to
                to = None if effect.to is None or before is None else before.union(effect.to)
                self.offers[effect.digest] = Offered(to, step)
            case fx.Discard():
                self._discard(effect.step)
            case fx.Entered(phase=Phase.COMMIT | Phase.DONE):
                place = (effect.epoch, effect.step)
                self.timers = {
                    timer: delay
                    for timer, delay in self.timers.items()
                    if timer[0] not in _OF_A_STEP or timer[1:3] == place
                }

    def _want(self, digest: Digest, source: int, step: int, size: int | None) -> None:
        before = self.wanted.get(digest)
        sources = before.sources if before else ()
        if source not in sources:
            sources = (*sources, source)
        self.wanted[digest] = Wanted(sources, step, size)

    def _discard(self, before: int) -> None:
        # A computation that was dropped on coming back never has a result (OPS-21).
        self.computing = tuple(
            request
            for request in self.computing
            if isinstance(request, Apply | Load | Save) or request.step >= before
        )
        # An update is made again until the model behind it is on disk, which is so in the step after.
        self.made = tuple(entry for entry in self.made if entry[0].step >= before)
        self.wanted = {name: wanted for name, wanted in self.wanted.items() if wanted.step >= before}
        self.offers = {name: offered for name, offered in self.offers.items() if offered.step >= before}
