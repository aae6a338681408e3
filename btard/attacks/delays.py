"""Peers that say what they have to, but as late as can be, or to as few as can be."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import ClassVar

from attrs import evolve

from btard.attacks.base import Attack, indices
from btard.attacks.forging import own_body
from btard.statemachine.config import quorum
from btard.statemachine.effects import Effect, Entered, Offer, Send, SetTimer
from btard.statemachine.messages import PHASE_BODIES, Accuse, Commit, Frame, Reduce, Reveal, Validate
from btard.statemachine.table import Phase

_MESSAGES = tuple(PHASE_BODIES.values())
_IMPATIENT = ("watch", "phase", "bulk", "publish")  # timers after which a peer complains or gives up


class ShowToOne(Attack):
    """Shows each message of a phase to one other peer alone, as late as that one takes it: another each time.

    ``lead`` is how long before the time-out it sends, in units of delta: with too little it is late for all.
    ``partner`` names the other attackers by index, joined by +: what only they get, nobody has.
    Its own state machine, which runs ahead of the others', waits for them for ever and never says LATE.
    """

    name: ClassVar[str] = "show_to_one"

    def __init__(self, from_step: int = 1, lead: float = 0.45, partner: float | str = "") -> None:
        super().__init__(from_step)
        self.partners = frozenset(indices(partner))
        self.lead = lead
        self._put_off: set[Frame] = set()
        self._began = 0.0  # when the others entered the present phase, at the latest, by the host's clock

    @property
    def honest(self) -> list[int]:
        """The other members that are no attackers."""
        return [peer for peer in self.others if peer not in self.partners]

    def favoured(self, step: int, phase: Phase) -> Collection[int]:
        """Return who gets the message of this phase."""
        return {self.honest[(5 * step + phase) % len(self.honest)]}

    def performed(self, effect: Effect) -> Iterable[Effect]:
        """Send to few, and late."""
        if isinstance(effect, Entered):
            self._began = max(self._began, self.peer.host.now())
        if isinstance(effect, SetTimer) and effect.timer[0] in _IMPATIENT:
            return ()
        body = own_body(effect, self.me, _MESSAGES)
        if body is None or not isinstance(effect, Send):
            return (effect,)
        known = effect.frame in self._put_off  # it was asked for it again
        if isinstance(body, Commit | Reduce | Reveal | Validate | Accuse) and not known:
            self._put_off.add(effect.frame)
            chosen = self.favoured(body.step, body.phase)
            to = tuple(peer for peer in effect.to if peer in chosen)
            self._send_later(body.phase, evolve(effect, to=to))
        return ()

    def _send_later(self, phase: Phase, effect: Send) -> None:
        now = self.peer.host.now()
        timing = self.peer.config.timing
        fetching = timing.delta_bulk / 2 if phase is Phase.REDUCE else 0  # an aggregate must have come, too
        due = self._began + (self._time_out(phase) - self.lead * timing.delta - fetching) / 1000
        self._began = max(now, due)  # nobody enters the next phase without this message
        if effect.to:
            self.peer.later(self._began - now, effect)

    def _time_out(self, phase: Phase) -> int:
        """Return T of a phase of the present step in milliseconds."""
        timing = self.peer.config.timing
        accuse = timing.t_accuse_disputed if self.state.at.disputed else timing.t_accuse
        return (timing.t_commit, timing.t_reduce, timing.t_reveal, timing.t_validate, accuse)[phase]


class Tardy(ShowToOne):
    """Is late in every phase.

    ``when`` says how: ``before`` the others' time-out, so that they wait as long as they can; ``after`` it;
    ``split``: just before it for some and never for the others, fewer than a quorum, others in each step.
    """

    name: ClassVar[str] = "late"
    leads: ClassVar = {"before": 2.0, "after": -2.0, "split": 0.45}

    def __init__(
        self, from_step: int = 1, when: str = "split", lead: float | None = None, partner: float | str = ""
    ) -> None:
        if when not in self.leads:
            raise ValueError(f"when is one of {', '.join(self.leads)}")
        super().__init__(from_step, self.leads[when] if lead is None else lead, partner)
        self.when = when

    def favoured(self, step: int, phase: Phase) -> Collection[int]:
        """Return all others, or all but as many as may say LATE without consequence: others in each step."""
        if self.when != "split":
            return self.others
        honest, victims = self.honest, quorum(len(self.state.roster)) - 1
        spared = {honest[(step * victims + place) % len(honest)] for place in range(victims)}
        return set(self.others) - spared


class SlowDrip(Attack):
    """Serves its objects so slowly that their last byte comes as late as may be.

    ``pace`` is that in units of what the others wait for parts, less what the way takes: with more than 1 it is
    asked for them in public, with much more it never serves them in time. All bytes come at the end: nobody
    uses an object before its last byte (NET-4), so dripping those before that would change nothing.
    """

    name: ClassVar[str] = "slow_drip"

    def __init__(self, from_step: int = 1, pace: float = 1.0) -> None:
        super().__init__(from_step)
        self.pace = pace
        self._entered = 0.0  # the present phase, by the host's clock

    def performed(self, effect: Effect) -> Iterable[Effect]:
        """Serve later."""
        if isinstance(effect, Entered):
            self._entered = self.peer.host.now()
        if not isinstance(effect, Offer):
            return (effect,)
        timing = self.peer.config.timing
        due = self._entered + self.pace * (timing.w_bulk - timing.delta - timing.delta_bulk) / 1000
        self.peer.later(max(0.0, due - self.peer.host.now()), effect)
        return ()
