"""A world as a tuple of numbers, and all that can happen in it.

Time goes in ticks. A message between honest peers takes any number of ticks up to delta; one that has to be
there by now arrives before a timer of its receiver fires. What a liar sends arrives whenever it likes, at
whomever it likes. Clocks do not drift, and a computation takes no time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from attrs import evolve

from btard.statemachine.events import Event, Fired, Held, Received, Start
from btard.statemachine.handle import initial
from btard.statemachine.messages import Accuse, Body, Bulk, Claim, Envelope, Epoch, Publish, Reduce, Stay
from btard.statemachine.state import State
from btard.statemachine.table import Phase
from fuzz.search.adversary import Scene
from fuzz.search.cores import Cores, Numbers, Outcome, timer_counts
from fuzz.world import configs

if TYPE_CHECKING:
    from fuzz.search.configurations import Configuration

Items = tuple[tuple[int, int], ...]  # events under way and the ticks that each has left
Action = tuple[str, int, int]


class Peer(NamedTuple):
    """One honest peer: its state, timers and log by number; timers with the ticks that they have left."""

    state: int
    timers: Items = ()
    log: int = 0
    gone: bool = False


class World(NamedTuple):
    """Honest peers, what is under way between each two of them, and who serves and wants which objects."""

    peers: tuple[Peer, ...]
    links: tuple[Items, ...]  # in the order in which it was sent
    bulk: int
    skew: int = 0  # ticks since the first honest peer entered the newest epoch, until all have

    def plain(self) -> tuple[Any, ...]:
        """Return the same as plain values, which is what a fingerprint is made of."""
        return (tuple(map(tuple, self.peers)), self.links, self.bulk, self.skew)


class Violation(Exception):
    """Something happened that must not."""


class Model:
    """One configuration's worlds and the moves between them."""

    def __init__(self, configuration: Configuration) -> None:
        self.configuration = configuration
        n = configuration.peers
        run = [evolve(config, timing=configuration.timing) for config in configs(n, configuration.parameters)]
        self.liars = configuration.liars
        self.honest = tuple(peer for peer in range(n) if peer not in self.liars)
        self.cores = Cores(run, configuration.oracle())
        self.delta = configuration.timing.delta
        self.goes_on = False  # whether from every world a way must lead to the end
        self.pairs = tuple((a, b) for a in self.honest for b in self.honest if a != b)
        self._prompt = tuple(self.pairs.index(pair) for pair in configuration.prompt if pair in self.pairs)
        self._bulk = Numbers()
        self._alive: dict[tuple[int, int], bool] = {}
        self._forged: dict[tuple[int, int, Body], Envelope] = {}
        self._menus: dict[tuple[int, ...], tuple[tuple[int, int], ...]] = {}

    # -- the beginning ----------------------------------------------------------------------------------

    def initial(self) -> World:
        """Run all cores without delay, liars honestly, until the liars fall silent at the declared place."""
        self.cores.logs.of(())
        nothing = self._bulk.of((frozenset(), frozenset()))
        if self.configuration.start is None:
            peers = tuple(Peer(self.cores.states.of(initial(self.cores.configs[peer]))) for peer in self.honest)
            world = World(peers, tuple(() for _ in self.pairs), nothing)
            for place in range(len(peers)):
                world = self.happen(world, place, self.cores.events.of(Start(bytes(32))))
            return world
        everybody = tuple(range(self.configuration.peers))
        start = {peer: Peer(self.cores.states.of(initial(self.cores.configs[peer]))) for peer in everybody}
        return self.prelude(start).run()

    def prelude(self, start: dict[int, Peer]) -> Prelude:
        """Return what happens before the search begins."""
        return Prelude(self, start)

    # -- what can happen --------------------------------------------------------------------------------

    def actions(self, world: World) -> list[Action]:
        """Return everything that can happen next."""
        for link in self._prompt:
            if world.links[link]:
                return [("deliver", link, 0)]
        found, blocked = self._deliveries(world)
        for place, peer in enumerate(world.peers):
            due = [timer for timer, left in peer.timers if left == 0]
            if due and place not in blocked:
                found += [("fire", place, timer) for timer in due]
            blocked |= {place} if due else set()
        if not blocked and self._something_is_pending(world):
            found.append(("tick", 0, 0))
        found += [("lie", place, event) for place, event in self.menu(world)]
        return found

    def _deliveries(self, world: World) -> tuple[list[Action], set[int]]:
        found: list[Action] = []
        due: set[int] = set()
        for link, items in enumerate(world.links):
            tried: set[tuple[int, int]] = set()
            control = False
            for position, item in enumerate(items):
                bulk = isinstance(self.cores.events[item[0]], Held)
                if item[1] == 0:
                    due.add(self.honest.index(self.pairs[link][1]))
                if item in tried or (self.configuration.fifo and control and not bulk):
                    continue
                tried.add(item)
                control = control or not bulk
                found.append(("deliver", link, position))
        return found, due

    def _something_is_pending(self, world: World) -> bool:
        return any(world.links) or any(peer.timers for peer in world.peers)

    def menu(self, world: World) -> tuple[tuple[int, int], ...]:
        """Return what the liars can send to whom that makes a difference."""
        key = (*(peer.state for peer in world.peers), world.bulk)
        moves = self._menus.get(key)
        if moves is None:
            moves = self._menus[key] = tuple(dict.fromkeys(self._moves(world)))
        return moves

    def _moves(self, world: World) -> Iterator[tuple[int, int]]:
        states = {peer: self.state(world, place) for place, peer in enumerate(self.honest)}
        scene = Scene(states, self.cores.configs, self.liars, self._forged)
        for move in self.configuration.menu:
            for sender, receiver, frame in move(scene):
                place = self.honest.index(receiver)
                event = self.cores.events.of(Received(sender, frame))
                if self._matters(world.peers[place], receiver, event):
                    yield place, event
        for asker, source, bulk in sorted(self._bulk[world.bulk][1], key=repr):
            if source in self.liars and self.configuration.serves:
                yield self.honest.index(asker), self.cores.events.of(Held(bulk.digest, bulk.size))

    def _matters(self, peer: Peer, index: int, event: int) -> bool:
        if peer.gone or self.cores.states[peer.state].phase is Phase.STOPPED:
            return False
        outcome = self.cores.step(index, peer.state, event)
        return bool(outcome.state != peer.state or outcome.sends or outcome.fault or outcome.fetches)

    # -- what it does -----------------------------------------------------------------------------------

    def apply(self, world: World, action: Action) -> World:
        """Let something happen; raise Violation where it must not be able to."""
        kind, first, second = action
        match kind:
            case "tick":
                return self._tick(world)
            case "deliver":
                (event, _), receiver = world.links[first][second], self.pairs[first][1]
                left = world.links[first][:second] + world.links[first][second + 1 :]
                links = (*world.links[:first], left, *world.links[first + 1 :])
                return self.happen(world._replace(links=links), self.honest.index(receiver), event)
            case "fire":
                peer = world.peers[first]
                timers = tuple(item for item in peer.timers if item != (second, 0))
                world = self._with(world, first, peer._replace(timers=timers))
                return self.happen(world, first, self.cores.events.of(Fired(self.cores.timers[second])))
        return self.happen(world, first, second)

    def _tick(self, world: World) -> World:
        links = tuple(tuple((event, left - 1) for event, left in items) for items in world.links)
        peers = tuple(
            peer._replace(timers=tuple((timer, left - 1) for timer, left in peer.timers))
            for peer in world.peers
        )
        skew = world.skew + 1 if self._epochs_differ(world) else 0
        if skew > self.delta:
            raise Violation(f"honest peers enter an epoch more than {self.delta} ticks after each other")
        return World(peers, links, world.bulk, skew)

    def _epochs_differ(self, world: World) -> bool:
        living = [place for place, peer in enumerate(world.peers) if not peer.gone]
        return len({self.state(world, place).epoch for place in living}) > 1

    def happen(self, world: World, place: int, event: int) -> World:
        """Let an event meet a peer, with all that comes of it at once."""
        peer, index = world.peers[place], self.honest[place]
        if peer.gone:
            return world
        outcome = self.cores.step(index, peer.state, event)
        if outcome.fault:
            raise Violation(outcome.fault)
        after = self._after(peer, outcome)
        world = self._with(world, place, after)
        if self._frozen(after) and not self._frozen(peer):
            world = self._without_useless(world, place, after)
        world = self._sent(world, index, outcome)
        world, at_once = self._fetching(world, index, outcome, self.cores.events[event])
        if outcome.log:
            self.check_agreement(world)
        for bulk in at_once:
            world = self.happen(world, place, self.cores.events.of(Held(bulk.digest, bulk.size)))
        return world

    def _after(self, peer: Peer, outcome: Outcome) -> Peer:
        number = outcome.state
        timers = peer.timers
        if number != peer.state or outcome.timers:
            alive = [item for item in (*timers, *outcome.timers) if self._counts(item[0], number)]
            timers = tuple(sorted(alive))
        log = self.cores.logs.of((*self.cores.logs[peer.log], *outcome.log)) if outcome.log else peer.log
        return Peer(number, timers, log, outcome.released)

    def _counts(self, timer: int, state: int) -> bool:
        key = (timer, state)
        known = self._alive.get(key)
        if known is None:
            known = self._alive[key] = timer_counts(self.cores.timers[timer], self.cores.states[state])
        return known

    def _with(self, world: World, place: int, peer: Peer) -> World:
        return world._replace(peers=(*world.peers[:place], peer, *world.peers[place + 1 :]))

    def _sent(self, world: World, index: int, outcome: Outcome) -> World:
        links = list(world.links)
        for receiver, event in outcome.sends:
            if receiver in self.liars:
                continue
            peer = world.peers[self.honest.index(receiver)]
            if not (peer.gone or self._useless(peer, receiver, event)):
                self._enqueue(links, index, receiver, event)
        return world._replace(links=tuple(links)) if outcome.sends else world

    def _frozen(self, peer: Peer) -> bool:
        return self.cores.states[peer.state].phase in (Phase.SETTLE, Phase.RATIFY, Phase.HALTED, Phase.STOPPED)

    def _useless(self, peer: Peer, index: int, event: int) -> bool:
        """Whether a frozen peer will never use this message: phase messages and the like of its epoch."""
        received = self.cores.events[event]
        if not self._frozen(peer) or not isinstance(received, Received):
            return False
        state, message = self.cores.states[peer.state], getattr(received.frame, "message", None)
        if message is None or isinstance(message.body, Epoch | Stay) or message.epoch != state.epoch:
            return False
        outcome = self.cores.step(index, peer.state, event)
        return outcome.state == peer.state and not (outcome.sends or outcome.fault)

    def _without_useless(self, world: World, place: int, peer: Peer) -> World:
        """Take off the way to a peer that froze just now what it will never use."""
        links = list(world.links)
        for link, (_, receiver) in enumerate(self.pairs):
            if receiver == self.honest[place]:
                kept = (item for item in links[link] if not self._useless(peer, receiver, item[0]))
                links[link] = tuple(kept)
        return world._replace(links=tuple(links))

    def _enqueue(self, links: list[Items], sender: int, receiver: int, event: int) -> None:
        link = self.pairs.index((sender, receiver))
        links[link] = (*links[link], (event, self.delta))
        if not self.configuration.fifo:
            links[link] = tuple(sorted(links[link]))

    # -- bulk -------------------------------------------------------------------------------------------

    def _fetching(self, world: World, index: int, outcome: Outcome, cause: Event) -> tuple[World, list[Bulk]]:
        """Serve what is offered: at once where a message brought it along, else within delta."""
        if not (outcome.offers or outcome.fetches):
            return world, []
        offers, wanted = self._bulk[world.bulk]
        links, at_once = list(world.links), []
        offers = offers | {(index, name, to) for name, to in outcome.offers}
        for source, bulk in outcome.fetches:
            if (source in self.liars and self.configuration.serves != "at once") or (
                source not in self.liars and not self._offered(offers, source, index, bulk)
            ):
                wanted = wanted | {(index, source, bulk)}
            elif source in self.liars or _brings(cause, bulk):
                at_once.append(bulk)
            else:
                self._enqueue(links, source, index, self.cores.events.of(Held(bulk.digest, bulk.size)))
        for asker, source, bulk in sorted(wanted, key=repr):
            if source == index and self._offered(offers, source, asker, bulk):
                wanted = wanted - {(asker, source, bulk)}
                self._enqueue(links, source, asker, self.cores.events.of(Held(bulk.digest, bulk.size)))
        number = self._bulk.of((offers, wanted))
        return world._replace(links=tuple(links), bulk=number), list(dict.fromkeys(at_once))

    def _offered(self, offers: frozenset[Any], source: int, asker: int, bulk: Bulk) -> bool:
        return any(
            owner == source and name == bulk.digest and (to is None or asker in to)
            for owner, name, to in offers
        )

    # -- what must hold ---------------------------------------------------------------------------------

    def state(self, world: World, place: int) -> State:
        """Return the state of an honest peer."""
        state: State = self.cores.states[world.peers[place].state]
        return state

    def check_agreement(self, world: World) -> None:
        """Raise Violation where honest peers applied or ratified different things."""
        logs = [self.cores.logs[peer.log] for peer in world.peers]
        known: dict[tuple[Any, ...], Any] = {}
        self.check_signed(world)
        for log in logs:
            for kind, number, *what in log:
                if kind == "signed":
                    continue
                if known.setdefault((kind, number), what) != what:
                    raise Violation(f"honest peers differ in {kind} {number}")
                if kind == "epoch" and not set(self.honest) <= set(what[1]):
                    raise Violation(f"an honest peer is not in the roster {what[1]} of epoch {number}")
        for kind, number, *what in known and [(k, n, *w) for (k, n), w in known.items()]:
            for other, step, *place in [(k, n, *w) for (k, n), w in known.items()]:
                if kind == "epoch" and other == "applied" and place[0] < number and step >= what[0]:
                    raise Violation(f"step {step} was applied, but epoch {number} begins with step {what[0]}")

    def check_signed(self, world: World) -> None:
        """Raise Violation where an honest peer has signed two records of an epoch's end for one slot."""
        for place, peer in enumerate(world.peers):
            signed: dict[object, object] = {}
            for kind, number, *what in self.cores.logs[peer.log]:
                if kind == "signed" and signed.setdefault(what[0], what[1]) != what[1]:
                    raise Violation(
                        f"peer {self.honest[place]} signed two records for a slot of epoch {number}"
                    )

    def over(self, world: World) -> bool:
        """Whether the story ends here: everybody is gone, halted with too few, or where the scope ends."""
        return all(self._over(world, place) for place in range(len(world.peers)))

    def _over(self, world: World, place: int) -> bool:
        peer, state = world.peers[place], self.state(world, place)
        return peer.gone or state.phase in (Phase.HALTED, Phase.STOPPED) or self.configuration.until(state)

    def check_end(self, world: World) -> None:
        """Raise Violation where the story ends and honest peers did not do the same."""
        if any(self.configuration.until(self.state(world, place)) for place in range(len(world.peers))):
            return  # the scope ended before the story
        if len({self._agreed(peer) for peer in world.peers}) > 1:
            raise Violation("at the end honest peers have not applied and ratified the same")

    def _agreed(self, peer: Peer) -> frozenset[tuple[Any, ...]]:
        return frozenset(entry for entry in self.cores.logs[peer.log] if entry[0] != "signed")

    def check_stuck(self, world: World) -> None:
        """Raise Violation where nothing more can happen though the story is not over."""
        if not self._something_is_pending(world):
            raise Violation("stuck: nothing is under way, no timer runs, and the run is not over")


def _brings(cause: Event, bulk: Bulk) -> bool:
    """Whether this message names the object: its delay counts until the object is there, too."""
    message = getattr(cause.frame, "message", None) if isinstance(cause, Received) else None
    match message.body if message else None:
        case Publish():
            return True
        case Reduce() as body:
            return body.aggregate == bulk.digest
        case Accuse(claim=Claim() as claim):
            return claim.object == bulk.digest
    return False


class Prelude:
    """The time before the search: everything arrives at once, and liars behave until they fall silent."""

    def __init__(self, model: Model, peers: dict[int, Peer]) -> None:
        self.model, self.peers = model, peers
        self.queue: list[tuple[int, int]] = []
        self.offers: set[tuple[int, bytes, tuple[int, ...] | None]] = set()
        self.wanted: list[tuple[int, int, Bulk]] = []
        self.links: tuple[Items, ...] = tuple(() for _ in model.pairs)

    def run(self) -> World:
        """Return the world in which the search begins."""
        model = self.model
        for peer in self.peers:
            self.queue.append((peer, model.cores.events.of(Start(bytes(32)))))
        while self.queue:
            self._step(*self.queue.pop(0))
        bulk = (
            frozenset(offer for offer in self.offers),
            frozenset(want for want in self.wanted if want[0] in model.honest),
        )
        peers = tuple(self.peers[peer] for peer in model.honest)
        return World(peers, self.links, model._bulk.of(bulk))

    def _step(self, index: int, event: int) -> None:
        model, peer = self.model, self.peers[index]
        outcome = model.cores.step(index, peer.state, event)
        if outcome.fault:
            raise Violation(f"in the prelude: {outcome.fault}")
        self.peers[index] = model._after(peer, outcome)
        for receiver, sent in outcome.sends:
            if index not in model.liars or self._before_start(sent):
                self._send(index, receiver, sent)
        self.offers |= {(index, name, to) for name, to in outcome.offers}
        self.wanted += [(index, source, bulk) for source, bulk in outcome.fetches]
        for want in list(self.wanted):
            asker, source, bulk = want
            silent = source in model.liars and self._reached_start(asker)
            if not silent and any((owner, name) == (source, bulk.digest) for owner, name, _ in self.offers):
                self.wanted.remove(want)
                self.queue.append((asker, model.cores.events.of(Held(bulk.digest, bulk.size))))

    def _send(self, index: int, receiver: int, sent: int) -> None:
        self.queue.append((receiver, sent))

    def _reached_start(self, peer: int) -> bool:
        at = self.model.cores.states[self.peers[peer].state].at
        start, withheld = self.model.configuration.start or (0, 0), self.model.configuration.withheld
        return (at.number, int(at.phase)) > start or (withheld and (at.number, int(at.phase)) == start)

    def _before_start(self, event: int) -> bool:
        received = self.model.cores.events[event]
        message = getattr(received.frame, "message", None)
        if message is None:
            return False
        body = message.body
        phase = getattr(body, "entered", getattr(body, "late_phase", getattr(body, "phase", Phase.ACCUSE)))
        return (body.step, int(phase)) < (self.model.configuration.start or (0, 0))
