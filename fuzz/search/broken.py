"""Worlds in which the times do not hold: broken links hold back what is on them for as long as they like.

All other links take no time, and clocks go alike. So peers freeze on honest peers, halt, ask and come back. One
epoch's end is searched: a peer that has entered the next one goes no further and answers polls only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve, frozen

from btard.statemachine import effects as fx
from btard.statemachine.events import Fired, Resume
from btard.statemachine.messages import Chain, Enter, Envelope, Poll, Pull
from btard.statemachine.state import State
from btard.statemachine.table import STEP_PHASES, Phase
from fuzz.search.cores import Log, Outcome, stops_alone
from fuzz.search.model import Action, Items, Model, Peer, Prelude, Violation, World

if TYPE_CHECKING:
    from fuzz.search.configurations import Configuration

NEVER_DUE = -1


@frozen
class Broken:
    """Which links are broken, from the start of the search on, and what is relaxed there.

    What always holds: nobody honest is banned; honest peers that enter an epoch enter the same one; nobody
    honest signs two records of an epoch's end for a slot; nothing is applied without a certificate; and where a
    record leaves all in, no step before it is done again.
    """

    links: tuple[tuple[int, int], ...]  # sender and receiver
    lossy: bool = False  # whether what is on them may be lost
    bundled: bool = False  # whether all that is on a link comes, or is lost, together
    removable: tuple[int, ...] = ()  # honest peers that may lose their place, because of their links
    goes_on: bool = False  # from every world a way leads to where all are in one epoch and running
    words: tuple[tuple[int, int], ...] = ()  # whose operator may give up whom, first before it signs STAY
    epochs: int = 1  # that may end


class BrokenModel(Model):
    """Worlds of one configuration with broken links."""

    def __init__(self, configuration: Configuration) -> None:
        assert configuration.broken is not None
        self.broken = configuration.broken
        broken = [pair for pair in _pairs(configuration) if pair in self.broken.links]
        prompt = tuple(pair for pair in _pairs(configuration) if pair not in broken)
        super().__init__(evolve(configuration, prompt=prompt))
        self.cores.forget = lambda state: state
        self.cores.bears = self._bears
        self.goes_on = self.broken.goes_on
        self._broken = tuple(link for link, pair in enumerate(self.pairs) if pair in broken)

    def prelude(self, start: dict[int, Peer]) -> Prelude:
        """Return what happens before links break; what is sent from the start on is on its way."""
        return BrokenPrelude(self, start)

    # -- what can happen --------------------------------------------------------------------------------

    def actions(self, world: World) -> list[Action]:
        """Return everything that can happen next."""
        if any(world.links[link] for link in self._prompt):
            return super().actions(world)
        found = [
            (kind, first, second)
            for kind, first, second in super().actions(world)
            if not (kind == "tick" and not self._timed(world))
            and not (kind == "deliver" and first in self._broken and second)
        ]
        due = [action for action in found if action[0] == "fire"]
        found = [action for action in found if action[0] != "fire"] + due[:1]
        for place, peer in enumerate(world.peers):
            found += [("fire", place, timer) for timer, left in peer.timers if left == NEVER_DUE]
        found += self._words(world)
        if self.broken.lossy:
            found += [("lose", link, 0) for link in self._broken if world.links[link]]
        return found

    def _words(self, world: World) -> list[Action]:
        """Return what operators may say now.

        The first one says it before its peer signs that all stay, and so keeps that from coming about: else
        some may have gone on with all.
        """
        found = []
        states = [self.state(world, place) for place in range(len(world.peers))]
        for peer, whom in self.broken.words:
            place = self.honest.index(peer)
            said = [state for state in states if state.halted and whom in state.halted.without]
            if states[place].halted and states[place] not in said and (said or states[place].stayed is None):
                found.append(("word", place, self.cores.events.of(Resume((whom,)))))
        return found

    def apply(self, world: World, action: Action) -> World:
        """Let something happen; raise Violation where it must not be able to."""
        kind, first, second = action
        if kind == "lose" or (kind == "deliver" and first in self._broken):
            place, link = self.honest.index(self.pairs[first][1]), world.links[first]
            some = len(link) if self.broken.bundled else 1
            items, left = link[:some], link[some:]
            world = world._replace(links=(*world.links[:first], left, *world.links[first + 1 :]))
            for event, _ in items if kind == "deliver" else ():
                world = self.happen(world, place, event)
            return world
        if kind == "fire":
            peer = world.peers[first]
            timers = tuple(item for item in peer.timers if item[0] != second)
            world = self._with(world, first, peer._replace(timers=timers))
            return self.happen(world, first, self.cores.events.of(Fired(self.cores.timers[second])))
        return super().apply(world, action)

    def _timed(self, world: World) -> list[int]:
        return [left for peer in world.peers for _, left in peer.timers if left != NEVER_DUE]

    def _tick(self, world: World) -> World:
        """Let time pass until the next timer is due: nothing else has a time."""
        passed = min(self._timed(world))
        peers = tuple(
            peer._replace(
                timers=tuple((timer, left - passed if left >= 0 else left) for timer, left in peer.timers)
            )
            for peer in world.peers
        )
        return world._replace(peers=peers)

    def happen(self, world: World, place: int, event: int) -> World:
        """Let an event meet a peer; who has answered a poll answers the next, as if delta were over."""
        world = super().happen(world, place, event)
        for timer, _ in world.peers[place].timers:
            if self.cores.timers[timer][0] == "answered":
                world = self.apply(world, ("fire", place, timer))
        return world

    def _enqueue(self, links: list[Items], sender: int, receiver: int, event: int) -> None:
        """Put a message on its way, unless the same one is on it: what is said again says nothing new."""
        link = self.pairs.index((sender, receiver))
        if (event, NEVER_DUE) in links[link]:
            return
        poll = self._is_poll(event)  # a newer one says all that an older one said
        kept = (item for item in links[link] if not (poll and self._is_poll(item[0])))
        links[link] = (*kept, (event, NEVER_DUE))

    def _is_poll(self, event: int) -> bool:
        return isinstance(getattr(self.cores.events[event], "frame", None), Poll)

    # -- where a peer's story ends ----------------------------------------------------------------------

    def _parked(self, peer: Peer) -> bool:
        state: State = self.cores.states[peer.state]
        return state.epoch >= self.broken.epochs and state.phase in STEP_PHASES

    def _frozen(self, peer: Peer) -> bool:
        return self._parked(peer) or super()._frozen(peer)

    def _useless(self, peer: Peer, index: int, event: int) -> bool:
        if self.cores.states[peer.state].phase is Phase.STOPPED:
            return True
        frame = getattr(self.cores.events[event], "frame", None)
        if self._parked(peer):
            return not isinstance(frame, Poll)
        if (
            not self._frozen(peer)
            or isinstance(frame, Poll | Pull | None)
            or self._epoch_of(frame) != self._epoch(peer)
        ):
            return False
        outcome = self.cores.step(
            index, peer.state, event
        )  # what a frozen peer knows, it knows until it leaves
        return outcome.state == peer.state and not (outcome.sends or outcome.fault)

    def _epoch(self, peer: Peer) -> int:
        return int(self.cores.states[peer.state].epoch)

    def _epoch_of(self, frame: Chain | Envelope) -> int | None:
        message = frame if isinstance(frame, Chain) else getattr(frame, "message", None)
        return message.epoch if message is not None else None

    def _after(self, peer: Peer, outcome: Outcome) -> Peer:
        """Take the time from polls and reminders: a peer may send them at any moment."""
        after = super()._after(peer, outcome)
        parked, timers = self._parked(after), []
        for timer, left in after.timers:
            timeless = self.cores.timers[timer][0] in ("poll", "remind", "answered")
            if timeless or not parked:
                timers.append((timer, NEVER_DUE if timeless else left))
        return after._replace(timers=tuple(sorted(set(timers))))

    def _matters(self, peer: Peer, index: int, event: int) -> bool:
        return not self._useless(peer, index, event) and super()._matters(peer, index, event)

    def over(self, world: World) -> bool:
        """Whether all are in one epoch and running, as far as they have not stopped."""
        states = [self.state(world, place) for place in range(len(world.peers))]
        living = [state for state in states if state.phase is not Phase.STOPPED]
        together = len({state.epoch for state in living}) <= 1
        return together and all(
            state.phase in (*STEP_PHASES, Phase.DONE) and self.configuration.until(state) for state in living
        )

    # -- what must hold ---------------------------------------------------------------------------------

    def _bears(self, state: State, effect: fx.Stopped | fx.Halted) -> bool:
        if isinstance(effect, fx.Halted):
            return True
        left_behind = effect.reason.startswith("the others went on from step")
        return stops_alone(state, effect) or (left_behind and bool(self.broken.removable))

    def check_agreement(self, world: World) -> None:
        """Raise Violation where there are two histories, or somebody lost its place who must not."""
        self.check_signed(world)
        known: dict[tuple[object, ...], list[object]] = {}
        for peer in world.peers:
            for kind, number, *what in self.cores.logs[peer.log]:
                if kind == "signed":
                    continue
                key = (kind, number, what[0]) if kind == "applied" else (kind, number)
                if known.setdefault(key, what) != what:
                    raise Violation(f"honest peers differ in {kind} {number}")
        for place, peer in enumerate(world.peers):
            self._check_epochs(self.honest[place], self.cores.logs[peer.log], known)

    def _check_epochs(self, me: int, log: Log, known: dict[tuple[object, ...], list[object]]) -> None:
        before = tuple(range(self.configuration.peers))
        for kind, number, *what in log:
            if kind != "epoch":
                continue
            first, roster, banned, _ = what
            if set(self.honest) & set(banned):
                raise Violation(f"an honest peer is banned: {banned}")
            if set(self.honest) - set(roster) - set(self.broken.removable):
                raise Violation(f"an honest peer whose links hold is not in the roster {roster}")
            again = [key[1] for key in known if key[0] == "applied" and key[2] < number and key[1] >= first]
            if again and roster == before:
                raise Violation(f"all stay, and step {again[0]} was applied and is done again")
            before = roster

    def check_end(self, world: World) -> None:
        """All that must hold at the end holds at every moment, and was checked."""


class BrokenPrelude(Prelude):
    """The time before links break: what honest peers send from the start of the search on is on its way."""

    def _send(self, index: int, receiver: int, sent: int) -> None:
        if self._before_start(sent):
            super()._send(index, receiver, sent)
        elif receiver in self.model.honest:
            links = list(self.links)
            self.model._enqueue(links, index, receiver, sent)
            self.links = tuple(links)

    def _before_start(self, event: int) -> bool:
        message = getattr(self.model.cores.events[event].frame, "message", None)
        if message is not None and isinstance(message.body, Enter):
            return (message.body.step, message.body.entered) <= (self.model.configuration.start or (0, 0))
        return super()._before_start(event)


def _pairs(configuration: Configuration) -> list[tuple[int, int]]:
    honest = [peer for peer in range(configuration.peers) if peer not in configuration.liars]
    return [(one, other) for one in honest for other in honest if one != other]
