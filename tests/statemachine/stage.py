"""Whole worlds for tests: short ways to start them and to look at them, and an oracle that looks itself."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable

from btard.hashing import digest
from btard.robust.encoding import SKETCH_SIZE
from btard.statemachine import compute as cp
from btard.statemachine import effects as fx
from btard.statemachine.events import Event
from btard.statemachine.handle import handle
from btard.statemachine.messages import Body, Claim, ClaimKind, Message
from btard.statemachine.state import State
from btard.statemachine.table import Phase
from fuzz.world import Oracle, Tamper, World, configs, parameters, parts_of

NORM = struct.pack("<d", 1.0)
OFF = struct.pack("<d", 0.5)
FALSE = struct.pack("<d", 0.9)


class Checking(Oracle):
    """Finds what is wrong by looking at digests and numbers, as a real backend does.

    All computations are right but the aggregates of the peers in ``wrong``, and from step 2 on the first
    sketch of those that ``spoil`` its sum.
    """

    def __init__(self, wrong: Iterable[int] = (), spoil: Iterable[int] = ()) -> None:
        self.wrong, self.spoil = set(wrong), set(spoil)
        self.aggregates: set[bytes] = set()

    def compute(self, me: int, request: cp.Request, entropy: bytes) -> cp.Result:
        """Compute; contributors see in their sketches that an aggregate is none."""
        result = super().compute(me, request, entropy)
        if isinstance(result, cp.Aggregated):
            if me in self.wrong:
                return cp.Aggregated(digest("wrong aggregate", result.digest))
            self.aggregates.add(result.digest)
        if isinstance(request, cp.Sketch) and isinstance(result, cp.Sketched) and request.own:
            rows = b"".join(self._sketch(aggregate) for aggregate in request.aggregates)
            if me in self.spoil and request.step >= 2:
                rows = FALSE + rows[len(FALSE) :]
            return cp.Sketched(rows, result.norms, result.aggregate_norms)
        return result

    def _sketch(self, aggregate: bytes) -> bytes:
        return (bytes(8) if aggregate in self.aggregates else OFF) + bytes(SKETCH_SIZE - 8)

    def verify(self, me: int, request: cp.Verify) -> tuple[Claim, ...]:
        """Check everything, the disputed parts first."""
        claims = [claim for check in request.disputed for claim in self._claims_on_part(check)]
        if request.own:
            claims += [claim for claim in self._claims_on_part(request.own) if claim.object]
        if request.audit and not self._gradient_is_right(request.audit):
            claims.append(Claim(ClaimKind.GRADIENT, request.audit.work.peer, 0, b""))
        claims += [
            Claim(ClaimKind.VALIDATOR, check.validator, check.part, b"")
            for check in request.validators
            if check.norm != NORM
        ]
        return tuple(claim for claim in claims if claim.accused != me)

    def _claims_on_part(self, check: cp.PartCheck) -> list[Claim]:
        claims = []
        if check.aggregate != digest("aggregate", *check.objects):
            claims.append(Claim(ClaimKind.AGGREGATE, check.aggregator, check.part, b""))
        expected = self._sketch(check.aggregate)
        for peer, name, sketch, norm in zip(
            check.contributors, check.objects, check.sketches, check.norms, strict=True
        ):
            if (sketch, norm) != (expected, NORM):
                claims.append(Claim(ClaimKind.SCALARS, peer, check.part, name))
        return claims

    def _gradient_is_right(self, check: cp.GradientCheck) -> bool:
        return check.committed == parts_of(check.work)

    def judge(self, me: int, request: cp.Judge) -> int | None:
        """Find guilty whom the same checks show guilty."""
        check = request.check
        if isinstance(check, cp.PartCheck):
            guilty = request.claim in self._claims_on_part(check)
        elif isinstance(check, cp.GradientCheck):
            guilty = not self._gradient_is_right(check)
        else:
            guilty = check.norm != NORM
        return request.claim.accused if guilty else cp.ACCUSER


class Watched(World):
    """A world that remembers each event with the state that it met."""

    seen: list[tuple[int, State, Event]]

    def step(self, peer: int, event: Event) -> None:
        """Let one event happen to one peer."""
        self.seen.append((peer, self.states[peer], event))
        super().step(peer, event)

    def states_of(self, peer: int) -> list[State]:
        """Return all states that a peer went through, in their order."""
        return [state for who, state, _ in self.seen if who == peer] + [self.states[peer]]

    def events_of(self, peer: int) -> list[Event]:
        """Return what happened to a peer, after `Start`."""
        return [event for who, _, event in self.seen if who == peer][1:]

    def first(self, peer: int, phase: Phase, step: int) -> State:
        """Return the first state of a peer in a phase of a step."""
        return next(s for s in self.states_of(peer) if (s.phase, s.at.number) == (phase, step))


def world_of(
    peers: int,
    seed: int = 1,
    tamper: dict[int, Tamper] | None = None,
    oracle: Oracle | None = None,
    steps: int = 3,
    **changes: object,
) -> Watched:
    """Return a world before its first event."""
    params = parameters(peers, steps, **{"f_max": (peers - 2) // 2, **changes})
    world = Watched(configs(peers, params), seed, oracle=oracle or Checking(), tamper=tamper or {})
    world.seen = []
    return world


def finish(world: Watched, bad: Iterable[int] = ()) -> Watched:
    """Run until the honest peers have finished, and check that they agree and lost none of theirs."""
    outlaws = {*world.tamper, *bad}
    honest = [peer for peer in range(len(world.configs)) if peer not in outlaws]
    world.run(lambda: world.over(honest))
    assert not [effect for peer in honest for effect in world.of(fx.Stopped, peer)]
    assert len({(world.states[peer].model_digest, world.states[peer].roster) for peer in honest}) == 1
    assert len({tuple(expelled(world, peer)) for peer in honest}) == 1
    assert set(honest) <= set(world.states[honest[0]].roster)
    return world


def expelled(world: World, at: int = 0) -> list[tuple[int, str, str]]:
    """Return who lost its place in the eyes of ``at``: peer, rule, ban or remove."""
    return [(e.peer, e.rule, e.kind) for e in world.of(fx.Expelled, at) if isinstance(e, fx.Expelled)]


def signed(world: World, peer: int | None = None) -> list[Message]:
    """Return the messages that the core of ``peer`` signed, in their order."""
    envelopes = [effect.envelope for effect in world.of(fx.Persist, peer) if isinstance(effect, fx.Persist)]
    return [envelope.message for envelope in envelopes if envelope.message]


def bodies(world: World, kind: type[Body], peer: int | None = None) -> list[Body]:
    """Return the bodies of one kind that a core signed."""
    return [message.body for message in signed(world, peer) if isinstance(message.body, kind)]


def tried(
    world: World, peer: int, event: Event, state: State | None = None
) -> tuple[State, tuple[fx.Effect, ...]]:
    """Return what an event would do to a peer, without letting it happen."""
    return handle(world.configs[peer], state or world.states[peer], event)


def judgement(effects: Iterable[fx.Effect]) -> fx.Judgement:
    """Return the verdict on a frame: the only one, unless it opens an epoch, for which others were kept."""
    done = list(effects)
    first, *others = [effect for effect in done if isinstance(effect, fx.Judgement)]
    assert not others or any(isinstance(effect, fx.RosterChanged) for effect in done)
    return first


def dropping(unwanted: Callable[[fx.Effect], bool]) -> Tamper:
    """Do not do what is unwanted."""
    return lambda world, peer, effect: () if unwanted(effect) else (effect,)
