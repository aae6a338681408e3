"""A world of cores: virtual time, per-recipient delivery, and vectors that are digests only.

Every choice comes from one seed. Honest peers are the real state machine, unchanged; a Byzantine peer is the
same core behind a `tamper` function that rewrites what it does, and an `Oracle` says what a computation would
find.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable, Iterable
from typing import Any

from attrs import define, evolve, field, frozen

from btard.hashing import digest
from btard.robust.encoding import SKETCH_SIZE
from btard.statemachine import compute as cp
from btard.statemachine import effects as fx
from btard.statemachine.checks import part_size
from btard.statemachine.config import Config
from btard.statemachine.events import Computed, Event, Fired, Held, Received, Start
from btard.statemachine.handle import handle, initial
from btard.statemachine.messages import Claim, ClaimKind
from btard.statemachine.parameters import Parameters, Timing
from btard.statemachine.state import State
from btard.statemachine.table import Phase

LINK = (1, 40)  # milliseconds between any two peers
COMPUTE = (1, 80)  # milliseconds for a computation
MODEL_SIZE = 100  # bytes of a model as an object
Tamper = Callable[["World", int, fx.Effect], Iterable[fx.Effect]]


def parameters(peers: int, steps: int = 3, **changes: Any) -> Parameters:
    """Return small parameters that tolerate the largest minority."""
    base = Parameters(
        steps=steps,
        dimension=64,
        tau=1.0,
        validators=1,
        f_max=max(0, (peers - 2) // 2),
        gradient_clip=math.inf,
        gradient_rtol=1e-6,
        alarm_factor=8.0,
        late_brake=0,
        window=10,
    )
    brake = changes.get("f_max", base.f_max)
    return evolve(base, **{"late_brake": brake, **changes})


def timing(delta: int = 100) -> Timing:
    """Return the tightest timing for the latencies of this world."""
    bounds = dict.fromkeys(
        ("c_commit", "c_aggregate", "c_reveal", "c_validate", "c_accuse", "c_judge", "c_publish"), 100
    )
    return Timing.derive(delta=delta, delta_bulk=2 * delta, **bounds)


def configs(peers: int, params: Parameters | None = None, run: bytes = b"run" * 10 + b"!!") -> list[Config]:
    """Return the configurations of all peers, with keyed hashes for signatures."""
    keys = tuple(digest("world key", bytes([peer])) for peer in range(peers))

    def signer(key: bytes) -> Callable[[bytes], bytes]:
        return lambda content: digest("world signature", key, content) * 2

    def verify(key: bytes, content: bytes, signature: bytes) -> bool:
        return signature == digest("world signature", key, content) * 2

    return [
        Config(run, me, keys, params or parameters(peers), timing(), signer(keys[me]), verify)
        for me in range(peers)
    ]


def parts_of(work: cp.Work) -> tuple[bytes, ...]:
    """Return the digests that stand for the parts of a gradient; other cuts are other objects."""
    return tuple(digest("part", work.seed, bytes([part]), bytes([work.parts])) for part in range(work.parts))


class Oracle:
    """What computations find: by default every number is right and every claim is false."""

    def verify(self, me: int, request: cp.Verify) -> tuple[Claim, ...]:
        """Return the claims that the checks of peer ``me`` support."""
        return ()

    def judge(self, me: int, request: cp.Judge) -> int | None:
        """Return who is guilty."""
        return cp.ACCUSER

    def judged(self, me: int, request: cp.Judge) -> cp.Judged:
        """Return who is guilty, and who looked away."""
        return cp.Judged(self.judge(me, request))

    def reports(self, me: int, check: cp.GradientCheck) -> bool:
        """Whether validator ``me`` finds its former target's gradient wrong."""
        return False

    def compute(self, me: int, request: cp.Request, entropy: bytes) -> cp.Result:
        """Return the result of any computation, with digests that depend on the inputs alone."""
        match request:
            case cp.Prepare():
                own = request.own
                names = parts_of(own) if own else ()
                return cp.Prepared(names, entropy)
            case cp.Aggregate():
                return cp.Aggregated(digest("aggregate", *request.objects))
            case cp.Sketch():
                parts = len(request.own) or (request.audit.parts if request.audit else 0)
                norms = b"\x00\x00\x00\x00\x00\x00\xf0\x3f" * parts
                report = request.report is not None and self.reports(me, request.report)
                return cp.Sketched(bytes(SKETCH_SIZE * parts), norms, (1.0,) * len(request.aggregates), report)
            case cp.Verify():
                return cp.Verified(self.verify(me, request))
            case cp.Judge():
                return self.judged(me, request)
            case cp.Apply():
                return cp.Applied(self.model(me, request))
            case cp.Save() | cp.Load():
                return (cp.Saved if isinstance(request, cp.Save) else cp.Loaded)(request.digest)

    def model(self, me: int, request: cp.Apply) -> bytes:
        """Return the digest of the model of peer ``me`` after an update."""
        return digest("model", *request.aggregates)


class Culprits(Oracle):
    """Peers whose gradients, aggregates or scalars are wrong from some step on, as everybody can compute."""

    def __init__(
        self, gradient: Iterable[int] = (), aggregate: Iterable[int] = (), scalars: Iterable[int] = ()
    ) -> None:
        self.gradient, self.aggregate, self.scalars = set(gradient), set(aggregate), set(scalars)

    def verify(self, me: int, request: cp.Verify) -> tuple[Claim, ...]:
        """Find what an honest peer would find."""
        claims = [
            Claim(ClaimKind.AGGREGATE, check.aggregator, check.part, b"")
            for check in request.disputed
            if check.aggregator in self.aggregate
        ]
        if request.own:
            claims += [
                Claim(ClaimKind.SCALARS, peer, request.own.part, name)
                for peer, name in zip(request.own.contributors, request.own.objects, strict=True)
                if peer in self.scalars
            ]
        if request.audit and request.audit.work.peer in self.gradient:
            claims.append(Claim(ClaimKind.GRADIENT, request.audit.work.peer, 0, b""))
        return tuple(claim for claim in claims if claim.accused != me)

    def reports(self, me: int, check: cp.GradientCheck) -> bool:
        """Find what an honest validator would find."""
        return check.work.peer in self.gradient

    def judge(self, me: int, request: cp.Judge) -> int | None:
        """Find the accused guilty where it is."""
        wrong = {
            ClaimKind.GRADIENT: self.gradient,
            ClaimKind.AGGREGATE: self.aggregate,
            ClaimKind.SCALARS: self.scalars,
        }.get(request.claim.kind, set())
        return request.claim.accused if request.claim.accused in wrong else cp.ACCUSER


@frozen
class Again:
    """A request for an object, over a link that was cut when it was made."""

    fetch: fx.Fetch


@define
class World:
    """Peers, messages in flight and virtual time in milliseconds."""

    configs: list[Config]
    seed: int
    oracle: Oracle = field(factory=Oracle)
    refuses: Callable[[int, int, bytes], bool] = lambda source, asker, name: False  # to serve an object
    tamper: dict[int, Tamper] = field(factory=dict)
    cut: Callable[[int, int, int], bool] = lambda now, one, other: False  # the link between two peers
    states: list[State] = field(init=False)
    now: int = 0
    effects: list[tuple[int, int, fx.Effect]] = field(factory=list)  # time, peer, effect
    offers: set[tuple[int, bytes]] = field(factory=set)
    wanted: set[tuple[int, int, bytes]] = field(factory=set)  # asker, source, digest
    sizes: dict[bytes, int] = field(factory=dict)  # of the objects that were computed, in bytes
    held: set[tuple[int, bytes]] = field(factory=set)  # peer, digest: what it computed or fetched
    released: set[int] = field(factory=set)
    _heap: list[tuple[int, int, int, Event | Again]] = field(factory=list)
    _count: int = 0
    _random: random.Random = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self.states = [initial(config) for config in self.configs]
        for peer in range(len(self.configs)):
            self.schedule(0, peer, Start(bytes(32)))

    def schedule(self, delay: int, peer: int, event: Event | Again) -> None:
        """Let ``event`` happen to ``peer`` after ``delay`` milliseconds."""
        self._count += 1
        heapq.heappush(self._heap, (self.now + delay, self._count, peer, event))

    def latency(self) -> int:
        """Draw a link's delay."""
        return self._random.randint(*LINK)

    def duration(self, peer: int, request: cp.Request) -> int:
        """Draw how long a computation takes."""
        return self._random.randint(*COMPUTE)

    def run(self, until: Callable[[], bool], limit: int = 10_000_000) -> None:
        """Process events until ``until()`` holds; fail where that takes longer than ``limit``."""
        while not until():
            assert self._heap, f"stalled: {self.describe()}"
            self.now, _, peer, event = heapq.heappop(self._heap)
            assert self.now <= limit, f"not over after {limit} ms: {self.describe()}"
            if isinstance(event, Again):
                self.perform(peer, event.fetch)
            else:
                self.step(peer, event)

    def describe(self) -> str:
        """Say where every peer stands."""
        return "; ".join(
            f"{peer}: epoch {state.epoch} step {state.at.number} {state.phase.name}"
            for peer, state in enumerate(self.states)
        )

    def step(self, peer: int, event: Event) -> None:
        """Let one event happen to one peer, unless it has left."""
        if peer in self.released:
            return
        self.states[peer], effects = handle(self.configs[peer], self.states[peer], event)
        self.note(peer, event, effects)
        tamper = self.tamper.get(peer)
        for effect in effects:
            for done in tamper(self, peer, effect) if tamper else (effect,):
                self.perform(peer, done)

    def note(self, peer: int, event: Event, effects: tuple[fx.Effect, ...]) -> None:
        """Keep what happened to a peer, before anything comes of it: where it may have to be known again."""

    def forget(self, peer: int) -> None:
        """Let nothing come of what is under way at a peer: it crashes."""
        self._heap = [e for e in self._heap if e[2] != peer or isinstance(e[3], Received)]
        heapq.heapify(self._heap)
        self.wanted = {wanted for wanted in self.wanted if wanted[0] != peer}

    def perform(self, peer: int, effect: fx.Effect) -> None:
        """Carry out one effect."""
        self.effects.append((self.now, peer, effect))
        match effect:
            case fx.Send():
                for receiver in [other for other in effect.to if not self.cut(self.now, peer, other)]:
                    self.schedule(self.latency(), receiver, Received(peer, effect.frame))
            case fx.SetTimer():
                self.schedule(effect.delay, peer, Fired(effect.timer))
            case fx.Compute():
                result = self.oracle.compute(peer, effect.request, self._random.randbytes(128))
                self._note_sizes(peer, effect.request, result)
                self.schedule(self.duration(peer, effect.request), peer, Computed(effect.request, result))
            case fx.FetchModel():
                self.sizes[effect.digest] = MODEL_SIZE
                self.perform(peer, fx.Fetch(effect.source, effect.digest, MODEL_SIZE, effect.step))
            case fx.Offer():
                self.offers.add((peer, effect.digest))
                for asker, source, name in [w for w in self.wanted if w[1:] == (peer, effect.digest)]:
                    self.wanted.discard((asker, source, name))
                    self._transfer(asker, name)
            case fx.Fetch():
                if self.cut(self.now, peer, effect.source):
                    self.schedule(LINK[1], peer, Again(effect))  # requests are repeated until they are answered
                elif effect.size != self.sizes.get(effect.digest, effect.size):
                    pass  # there is no such object
                elif self.refuses(effect.source, peer, effect.digest):
                    pass
                elif (peer, effect.digest) in self.held:
                    self.schedule(0, peer, Held(effect.digest, effect.size))
                elif (effect.source, effect.digest) in self.offers:
                    self._transfer(peer, effect.digest)
                else:
                    self.wanted.add((peer, effect.source, effect.digest))
            case fx.Released():
                self.released.add(peer)

    def _transfer(self, asker: int, name: bytes) -> None:
        self.held.add((asker, name))
        self.schedule(2 * self.latency(), asker, Held(name, self.sizes[name]))

    def _note_sizes(self, peer: int, request: cp.Request, result: cp.Result) -> None:
        """Keep the sizes of the vectors that a computation makes."""
        dimension = self.configs[peer].parameters.dimension
        match request, result:
            case cp.Prepare(own=cp.Work() as own), cp.Prepared():
                made = {name: part_size(dimension, own.parts, part) for part, name in enumerate(result.parts)}
            case cp.Save(), cp.Saved():
                made = {result.digest: MODEL_SIZE}
            case cp.Aggregate(), cp.Aggregated():
                made = {result.digest: part_size(dimension, request.parts, request.part)}
            case _:
                made = {}
        self.sizes |= made
        self.held |= {(peer, name) for name in made}

    # -- what happened ----------------------------------------------------------------------------------

    def of(self, kind: type[fx.Effect], peer: int | None = None) -> list[fx.Effect]:
        """Return the effects of one kind, of one peer or all."""
        return [e for _, who, e in self.effects if isinstance(e, kind) and peer in (None, who)]

    def over(self, peers: Iterable[int]) -> bool:
        """Whether all these peers have applied the last step, or stopped."""
        return all(
            peer in self.released
            or state.phase is Phase.STOPPED
            or (state.phase is Phase.DONE and state.model_step == state.at.number)
            for peer, state in ((peer, self.states[peer]) for peer in peers)
        )
