"""Every attack that needs no vectors, by the largest minority of the peers: state machines in virtual time.

`python -m fuzz.attackers --seeds 200` prints a line for each attack and each number of peers; with `--attack
late --peers 8 --first 7 --seeds 1` it runs some of it. The exit status is 1 if an honest peer lost its place or
did not finish, or an attacker was not out within the steps that `btard.attacks.expected` states.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, cast

from attrs import define, evolve, field, frozen

from btard.attacks.base import Attack
from btard.attacks.byzantine import ByzantinePeer
from btard.attacks.expected import OUTAGES, Case, When
from btard.attacks.names import AttackSpec, make_attack, parse
from btard.node.outstanding import Outstanding
from btard.statemachine import effects as fx
from btard.statemachine.config import Config
from btard.statemachine.events import Event, Received, Returned, Start
from btard.statemachine.handle import initial
from btard.statemachine.messages import Chain, Poll
from btard.statemachine.state import State
from btard.wire import WireError, decode_frame
from fuzz.world import World, configs, parameters

SIZES = (4, 5, 8)
FIRST = 1  # the step in which attacks begin
STEPS = 3  # of a run
LIMIT = 1_000_000  # milliseconds of a run: a hundred times as long as the longest takes
ABSENCE = 300  # milliseconds from a crash to the return
AGREED = ("settle", "outcome")  # timers of an agreement's rounds, which are not set anew
FRAMES = 8  # that a flood consists of, to each peer and in each phase: more only takes longer


@frozen
class _Later:
    """An event of the world's own: an attacker does what it had put off."""

    effect: fx.Effect


@frozen
class _Return:
    """An event of the world's own: a peer that died starts anew; it has its journal, or knows nothing."""

    remembers: bool


@define(eq=False)
class Body:
    """What an attack can do with its own peer in a world: what `ByzantinePeer` lets it do in a real one."""

    world: Attacked
    me: int

    @property
    def config(self) -> Config:
        """Genesis and key."""
        return self.world.configs[self.me]

    @property
    def state(self) -> State:
        """The state machine's state; the attack may replace it."""
        return self.world.states[self.me]

    @state.setter
    def state(self, state: State) -> None:
        self.world.states[self.me] = state

    @property
    def host(self) -> Body:
        """The transport."""
        return self

    def now(self) -> float:
        """The clock, in seconds."""
        return self.world.now / 1000

    def send(self, peer: int, frame: bytes) -> None:
        """Send a frame; what does not decode is dropped on arrival."""
        try:
            decoded = decode_frame(frame, len(self.world.configs))
        except WireError:
            return
        self.world.schedule(self.world.latency(), peer, Received(self.me, decoded))

    def later(self, seconds: float, effect: fx.Effect) -> None:
        """Do something in so many seconds."""
        self.world.schedule(math.ceil(seconds * 1000), self.me, cast(Event, _Later(effect)))

    def die(self, away: float | None = None) -> None:
        """Hear nothing for so many seconds, and come back with a journal; else, soon and with nothing."""
        self.world.dead.add(self.me)
        self.world.forget(self.me)
        self.world.crashes += 1
        if away is None:
            self.world.states[self.me], _ = initial(self.config), self.world.kept.pop(self.me, None)
        absence = ABSENCE if away is None else math.ceil(1000 * away)
        self.world.schedule(absence, self.me, cast(Event, _Return(remembers=away is not None)))


@define(eq=False)
class Attacked(World):
    """A world in which some peers attack."""

    attacks: dict[int, Attack] = field(factory=dict)
    dead: set[int] = field(factory=set)
    kept: dict[int, Outstanding] = field(
        factory=lambda: defaultdict(Outstanding)
    )  # besides the attackers' states
    answers: dict[tuple[int, int], list[int]] = field(
        factory=lambda: defaultdict(list)
    )  # of whom to whose polls
    crashes: int = 0
    most: Counter[str] = field(factory=Counter)  # that an honest peer kept at any time, by what
    served: dict[tuple[int, bytes], frozenset[int] | None] = field(factory=dict)  # peer, object: to whom

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        for peer, attack in self.attacks.items():
            attack.meet(cast(ByzantinePeer, Body(self, peer)))
            self.tamper[peer] = self._attack

    def _attack(self, _: World, peer: int, effect: fx.Effect) -> Iterable[fx.Effect]:
        attack = self.attacks[peer]
        done = attack.performed(effect) if attack.active(self.states[peer].at.number) else (effect,)
        for each in () if peer in self.dead else done:
            if peer not in self.dead:
                yield each

    def step(self, peer: int, event: Event) -> None:
        """Let one event happen to one peer, or to nobody where that is dead."""
        match cast(Any, event):
            case _Return(remembers):
                self.dead.discard(peer)
                if remembers:
                    self._take_up(peer)
                super().step(peer, Returned() if remembers else Start(bytes(32)))
            case _ if peer in self.dead:
                pass
            case _Later(effect):
                self.perform(peer, effect)
            case _:
                super().step(peer, event)

    def note(self, peer: int, event: Event, effects: tuple[fx.Effect, ...]) -> None:
        """Keep what an attacker's journal holds; of honest peers, when they answer polls, and the most kept."""
        if peer in self.attacks:
            self.kept[peer].follow(event, effects, self.states[peer].at.number)
            return
        self.most |= _kept(self.states[peer])
        if isinstance(event, Received) and isinstance(event.frame, Poll):
            answered = any(isinstance(effect, fx.Send) and event.sender in effect.to for effect in effects)
            self.answers[peer, event.sender] += [self.now] * answered

    def _take_up(self, peer: int) -> None:
        """Do again what was under way at a crash, as `btard.node.recovery` does; objects outlive it here."""
        state, kept = self.states[peer], self.kept[peer]
        others = tuple(member for member in state.roster if member != peer)
        again: list[fx.Effect] = [
            fx.SetTimer(*entry) for entry in kept.timers.items() if entry[0][0] not in AGREED
        ]
        again += [fx.Compute(request) for request in kept.computing]
        again += [fx.Send(others, said) for said in state.slots.values() if said.author == peer]
        for name, wanted in kept.wanted.items():
            for source in wanted.sources:
                if wanted.size is None:
                    again.append(fx.FetchModel(source, name, wanted.step))
                else:
                    again.append(fx.Fetch(source, name, wanted.size, wanted.step))
        for name, offered in kept.offers.items():
            again.append(fx.Offer(name, None if offered.to is None else tuple(sorted(offered.to))))
        for effect in again:
            self.perform(peer, effect)

    def perform(self, peer: int, effect: fx.Effect) -> None:
        """Carry out one effect; objects go only to whom they were offered, as over a real transport."""
        match effect:
            case fx.Offer():
                self.effects.append((self.now, peer, effect))
                place = peer, effect.digest
                before = self.served.get(place, frozenset())
                to = None if effect.to is None or before is None else before.union(effect.to)
                self.served[place] = to
                self.offers.add(place)
                for wanted in sorted(w for w in self.wanted if w[1:] == place and (to is None or w[0] in to)):
                    self.wanted.discard(wanted)
                    self._transfer(wanted[0], effect.digest)
            case fx.Fetch() if not self._serves(effect.source, peer, effect.digest):
                self.effects.append((self.now, peer, effect))
                if effect.size == self.sizes.get(effect.digest, effect.size):
                    self.wanted.add((peer, effect.source, effect.digest))
            case _:
                super().perform(peer, effect)

    def _serves(self, source: int, asker: int, name: bytes) -> bool:
        to = self.served.get((source, name), frozenset())
        return (asker, name) in self.held or (source not in self.dead and (to is None or asker in to))

    @property
    def honest(self) -> list[int]:
        """Whoever does not attack."""
        return [peer for peer in range(len(self.configs)) if peer not in self.attacks]


@frozen
class Played:
    """A run, and what was wrong with it."""

    world: Attacked
    problems: tuple[str, ...]
    took: int  # steps from the first of the attack to the last removal; -1 where nobody went


def minority(peers: int, seed: int) -> tuple[int, int]:
    """Return the most attackers among so many peers, and how many validators leave room for them (GEN-3).

    Of the large runs, which take the longest, only some have validators, and so closing steps.
    """
    return (peers - 1) // 2, int(peers % 2 == 0 and (peers < max(SIZES) or seed % 5 == 0))


def play(case: Case, peers: int, seed: int, steps: int = STEPS, count: int = FRAMES, **changes: int) -> Played:
    """Let as many peers as may be attack, and run to the end; ``count`` is that of a flood."""
    attackers, validators = minority(peers, seed)
    cheats = tuple(sorted(random.Random(f"cheats {seed}").sample(range(peers), attackers)))
    attacks = {
        peer: make_attack(_smaller(parse(text), count)) for peer, text in case.texts(cheats, FIRST).items()
    }
    params = parameters(peers, steps, validators=validators, f_max=attackers, **changes)
    world = Attacked(configs(peers, params), seed, attacks=attacks)
    try:
        world.run(lambda: world.over(world.honest), LIMIT)
    except AssertionError as stalled:
        return Played(world, (str(stalled),), -1)
    out = [e for e in world.of(fx.Expelled, world.honest[0]) if isinstance(e, fx.Expelled)]
    took = max((e.step - FIRST for e in out), default=-1)
    return Played(world, (*_honest(world), *_caught(world, case, out), *bounded(world)), took)


def _smaller(spec: AttackSpec, count: int) -> AttackSpec:
    return evolve(spec, options=(*spec.options, ("count", float(count)))) if spec.name == "flood" else spec


def _honest(world: Attacked) -> Iterator[str]:
    first = world.honest[0]
    for peer in world.honest:
        for stopped in world.of(fx.Stopped, peer):
            yield f"honest peer {peer} stopped: {stopped}"
        both = _gone(world, peer), _gone(world, first)  # one of them may finish before the other's last removal
        if any(one != other for one, other in zip(*both, strict=False)):
            yield f"honest peers {first} and {peer} disagree on who is out"
        if world.states[peer].model_digest != world.states[first].model_digest:
            yield f"honest peers {first} and {peer} have different models"
        if peer not in world.states[first].roster:
            yield f"honest peer {peer} is out"


def _gone(world: Attacked, at: int) -> list[tuple[int, str]]:
    return [(e.peer, e.kind) for e in world.of(fx.Expelled, at) if isinstance(e, fx.Expelled)]


def _caught(world: Attacked, case: Case, out: Sequence[fx.Expelled]) -> Iterator[str]:
    within = case.within(len(world.configs), 1, len(world.attacks))
    kept = world.attacks.keys() - {e.peer for e in out if e.step - FIRST <= within}
    if case.when is not When.NEVER and kept:
        yield f"peers {sorted(kept)} were not out within {within} steps"
    for e in out:
        if e.rule not in case.rules or e.kind not in case.kind:
            yield f"peer {e.peer} is out for {e.rule} ({e.kind}: {e.reason}), not {case.rules} ({case.kind})"


def bounded(world: Attacked) -> Iterator[str]:
    """What an honest peer keeps and sends is bounded by the number of slots, whatever comes in, at any time."""
    n = len(world.configs)
    slots = 2 * n * (5 + 3 + 2 * n + 5 * n + n * n)  # of two steps: messages, ENTER, votes and PUBLISH, LATE
    limits = {"slots": slots, "pulled": 10 * n, "early chains": 64, "early messages": 2}
    most = world.most
    yield from (f"an honest peer kept {most[what]} {what}" for what in limits if most[what] > limits[what])
    for peer in world.honest:
        delta = world.configs[peer].timing.delta
        for asker, times in (
            (asker, times) for (answering, asker), times in world.answers.items() if answering == peer
        ):
            if any(later < sooner + delta for sooner, later in pairwise(times)):
                yield f"peer {peer} answered several polls of peer {asker} within delta"


def _kept(state: State) -> Counter[str]:
    """Count what others can have a peer keep; of what is early, that of the one who sent the most."""
    early = Counter((sender, isinstance(frame, Chain)) for sender, frame in state.deferred)
    chains, messages = (max((early[e] for e in early if e[1] is kind), default=0) for kind in (True, False))
    return Counter(
        {
            "slots": len(state.slots),
            "pulled": len(state.pulled),
            "early chains": chains,
            "early messages": messages,
        }
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the sweep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=200, help="how many runs of each")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--attack", default="", help="only attacks that begin so")
    parser.add_argument("--peers", type=int, nargs="*", default=SIZES, help="of the runs")
    chosen = parser.parse_args(arguments)
    cases = [case for case in OUTAGES if case.attack.startswith(chosen.attack)]
    if not cases:
        known = ", ".join(case.attack for case in OUTAGES)
        parser.error(f"no attack begins with {chosen.attack!r}; there are {known}")
    failed = 0
    print(f"{'attack':38} {'peers':>5} {'of them':>7} {'runs':>5} {'out':>5} {'within':>6} {'stated':>6}")
    for case in cases:
        for peers in chosen.peers:
            failed += _line(case, peers, range(chosen.first, chosen.first + chosen.seeds))
    print(f"{failed} runs failed")
    return int(failed > 0)


def _line(case: Case, peers: int, seeds: Iterable[int]) -> int:
    """Run one case with all seeds, print what came of it, and return how many runs failed."""
    start, took, problems, out, runs = time.process_time(), -1, 0, 0, 0
    for seed in seeds:
        played = play(case, peers, seed)
        runs += 1
        took = max(took, played.took)
        out += bool(played.world.of(fx.Expelled))
        problems += bool(played.problems)
        for problem in played.problems:
            print(f"  seed {seed}: {problem}", flush=True)
    attackers, _ = minority(peers, 0)
    stated = "-" if case.when is When.NEVER else str(case.within(peers, 1, attackers))
    seconds = time.process_time() - start
    print(
        f"{case.attack:38} {peers:5} {attackers:7} {runs:5} {out:5} {took + 1:6} {stated:>6}  "
        f"{problems or 'none'} ({seconds:.1f} s)",
        flush=True,
    )
    return problems


if __name__ == "__main__":
    sys.exit(main())
