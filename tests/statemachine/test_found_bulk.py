"""Bulk that only some hold, or of another size than its part: no honest peer may pay for it."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from functools import partial
from typing import Any

import pytest
from attrs import evolve

from btard.hashing import digest
from btard.statemachine import compute as cp
from btard.statemachine import effects as fx
from btard.statemachine.checks import part_size
from btard.statemachine.election import gradient_seed
from btard.statemachine.events import Held, Received
from btard.statemachine.messages import (
    Accuse,
    Body,
    Claim,
    ClaimKind,
    Commit,
    Enter,
    Envelope,
    NoVerdict,
    Publish,
    Reduce,
    Validate,
)
from btard.statemachine.table import Phase
from fuzz import byzantine as byz
from fuzz.world import Oracle, Tamper, World, configs, parameters, parts_of


class Growing(Oracle):
    """Honest norms of a minority of parts, so large in step 2 that verification 3 disputes these, in vain."""

    def compute(self, me: int, request: cp.Request, entropy: bytes) -> cp.Result:
        result = super().compute(me, request, entropy)
        if isinstance(request, cp.Sketch) and isinstance(result, cp.Sketched) and request.step == 2:
            large = (max(len(result.norms), 8) // 8 - 1) // 2
            return evolve(result, norms=struct.pack("<d", 1e3) * large + result.norms[8 * large :])
        return result


def own(effect: fx.Effect, peer: int) -> tuple[tuple[int, ...], Body | None]:
    """Return receivers and body of what ``peer`` sends of its own, if that is what the effect does."""
    if isinstance(effect, fx.Send) and isinstance(effect.frame, Envelope) and effect.frame.author == peer:
        return effect.to, effect.frame.message.body if effect.frame.message else None
    return (), None


def chained(*tampers: Tamper) -> Tamper:
    """Tamper in all these ways, one after the other."""

    def tamper(world: World, peer: int, effect: fx.Effect) -> Iterable[fx.Effect]:
        effects = [effect]
        for way in tampers:
            effects = [done for one in effects for done in way(world, peer, one)]
        return effects

    return tamper


def world_of(peers: int, seed: int, tamper: Tamper, oracle: Oracle | None = None, **changes: Any) -> World:
    params = parameters(peers, changes.pop("steps", 2), f_max=1, **changes)
    return World(configs(peers, params), seed, oracle=oracle or Oracle(), tamper={peers - 1: tamper})


def finish(world: World) -> list[tuple[int, str]]:
    """Let the honest peers finish, all of them; return who is out, and whether banned or removed."""
    honest = [peer for peer in range(len(world.configs)) if peer not in world.tamper]
    world.run(lambda: world.over(honest))
    assert not [effect for peer in honest for effect in world.of(fx.Stopped, peer)]
    outs = [[(e.peer, e.kind) for e in world.of(fx.Expelled, p) if isinstance(e, fx.Expelled)] for p in honest]
    assert all(set(out) == set(outs[0]) for out in outs)
    assert not {peer for peer, _ in outs[0]} & set(honest)
    assert len({world.states[peer].model_digest for peer in honest}) == 1
    return outs[0]


@pytest.mark.refuses("AGR-3", "STP-7", "VER-4")
@pytest.mark.parametrize("seed", range(4))
def test_an_aggregate_of_another_size_is_not_delivered(seed: int) -> None:
    """The last step's aggregate of a longer part is here under its digest; it is none of a shorter part."""
    dimension, asked = 65, []  # 4 parts of 17, 16, 16 and 16

    def longer(world: World, peer: int, effect: fx.Effect) -> Iterable[fx.Effect]:
        record, at = world.states[peer].last, world.states[peer].at
        if at.number != 2 or record is None or at.aggregators.index(peer) == 0:
            return (effect,)

        def change(body: Body) -> Body:
            assert isinstance(body, Reduce)
            return evolve(body, aggregate=record.aggregates[0])

        return byz.lying(Reduce, 2, change)(world, peer, effect)

    world = world_of(4, seed, longer, dimension=dimension, steps=3)
    removed = finish(world)
    for effect in world.of(fx.Compute):
        if isinstance(effect, fx.Compute) and isinstance(effect.request, cp.Sketch):
            asked += list(enumerate(effect.request.aggregates))
            for part, name in enumerate(effect.request.aggregates):
                assert world.sizes[name] == part_size(dimension, len(effect.request.aggregates), part)
    assert asked
    assert removed in ([], [(3, "remove")])


class Noting(Growing):
    """Says whether a judge lacked objects that its judgement rests on."""

    world: World
    lacking = 0
    looked = 0

    def judge(self, me: int, request: cp.Judge) -> int | None:
        assert isinstance(request.check, cp.PartCheck)
        here = {bulk.digest for bulk in self.world.states[me].held}
        self.looked += 1
        self.lacking += not {*request.check.objects, request.check.aggregate} <= here
        return cp.ACCUSER


def accuses_at_once(world: World, peer: int, effect: fx.Effect) -> Iterable[fx.Effect]:
    """On entering ACCUSE of step 2: raise a claim that anybody may raise on a disputed part."""
    at, epoch = world.states[peer].at, world.states[peer].epoch
    to, body = own(effect, peer)
    if not isinstance(body, Enter) or (body.step, body.entered) != (2, int(Phase.ACCUSE)):
        return () if isinstance(body, Accuse) and body.step == 2 and epoch == 0 else (effect,)
    part = next(part for part in at.disputed if at.aggregators[part] != peer)
    claim = Claim(ClaimKind.AGGREGATE, at.aggregators[part], part, b"")
    assert at.secrets is not None
    secret = at.secrets.election
    said = Accuse(2, at.views[-1], secret.value, secret.salt, claim)
    return effect, fx.Send(to, byz.forge(world.configs[peer], epoch, said))


@pytest.mark.shows("VER-13", "AGR-3")
@pytest.mark.refuses("VER-6")
@pytest.mark.parametrize("seed", range(3))
def test_nobody_judges_an_aggregate_without_its_parts(seed: int) -> None:
    oracle = Noting()
    world = oracle.world = world_of(5, seed, accuses_at_once, oracle)
    assert finish(world) == [(4, "ban")]
    assert oracle.looked
    assert not oracle.lacking


@pytest.mark.shows("VER-9", "AGR-8")
@pytest.mark.parametrize("seed", range(3))
def test_a_part_published_to_its_aggregator_alone_reaches_all(seed: int) -> None:
    """The aggregator holds the part since REDUCE. It is asked for it, and has to serve it."""

    def to_aggregators(world: World, peer: int, effect: fx.Effect) -> Iterable[fx.Effect]:
        at = world.states[peer].at
        _, body = own(effect, peer)
        if isinstance(effect, fx.Send) and isinstance(body, Publish) and at.aggregators[body.part] != peer:
            return (fx.Send((at.aggregators[body.part],), effect.frame),)
        return (effect,)

    def refuses(source: int, asker: int, name: bytes) -> bool:
        at = world.states[3].at
        mine = at.own_parts and name == at.own_parts[at.aggregators.index(3)]
        return source == 3 and world.states[asker].phase is Phase.ACCUSE and not mine

    world = world_of(4, seed, to_aggregators, Growing(), validators=0)
    world.refuses = refuses
    assert finish(world) == []
    assert world.of(fx.Certified, 0)


@pytest.mark.refuses("VER-9")
@pytest.mark.parametrize("seed", range(6))
def test_who_copies_a_hash_must_publish_all_the_same(seed: int) -> None:
    """Who committed to another's part, and publishes nothing, is late for its owner too, who holds it."""
    copied = []

    def copy(world: World, peer: int, effect: fx.Effect) -> Iterable[fx.Effect]:
        state = world.states[peer]
        _, said = own(effect, peer)
        if said is None or state.at.number != 2 or state.epoch or state.last is None:
            return (effect,)
        config, at = world.configs[peer], state.at
        seed_of_0 = gradient_seed(config.run, state.last.election_value, 2, 0)
        mine, other = at.aggregators.index(peer), at.aggregators.index(1)

        def change(body: Body) -> Body:
            assert isinstance(body, Commit)
            parts = list(body.parts)
            parts[mine] = parts_of(cp.Work(0, 2, seed_of_0, 4))[other]
            copied.append(parts[mine])
            world.schedule(0, peer, Held(parts[mine], part_size(64, 4, mine)))
            return evolve(body, parts=tuple(parts))

        return () if isinstance(said, Publish) else byz.lying(Commit, 2, change)(world, peer, effect)

    world = world_of(4, seed, copy, Growing(), validators=0)
    assert finish(world) == [(3, "remove")]
    assert copied


def hidden_claim(
    world: World, peer: int, effect: fx.Effect, told: Iterable[int] = range(3), delay: int = 1
) -> Iterable[fx.Effect]:
    """Accuse peer 0 as early as can be before ``told``, and say at once that there was no verdict."""
    state = world.states[peer]
    _, body = own(effect, peer)
    if state.epoch or not isinstance(body, Enter | Accuse) or body.step != 2:
        return (effect,)
    if isinstance(body, Accuse):
        return ()
    if body.entered != Phase.ACCUSE:
        return (effect,)
    part = state.at.aggregators.index(peer)
    committed = state.slots[("phase", 0, 2, 0, 0)].message
    assert committed is not None
    assert isinstance(committed.body, Commit)
    assert state.at.secrets is not None
    secret = state.at.secrets.election
    claim = Claim(ClaimKind.SCALARS, 0, part, committed.body.parts[part])
    config = world.configs[peer]
    accusation = byz.forge(config, 0, Accuse(2, state.at.views[-1], secret.value, secret.salt, claim))
    nothing = byz.forge(config, 0, NoVerdict(2, peer, accusation.hash))
    for receiver in told:
        world.schedule(delay, receiver, Received(peer, accusation))
    for receiver in range(peer):
        world.schedule(delay, receiver, Received(peer, nothing))
    return (effect,)


@pytest.mark.shows("VER-13", "VER-15", "AGR-8")
@pytest.mark.parametrize("seed", range(8))
def test_a_claim_hidden_from_one_is_judged_by_all(seed: int) -> None:
    """Peer 2 is still in VALIDATE when it hears of the claim; the accuser does not serve the object to it.

    If it voted a whole time-out later than the others, these would have said that there is no verdict, and
    the honest accused would be removed along with its accuser.
    """
    world = world_of(4, seed, chained(byz.to_some(Validate, 2, [0, 1]), hidden_claim), validators=0)
    world.refuses = lambda source, asker, name: (
        (source, asker) == (3, 2) and (world.states[2].at.phase is not Phase.REDUCE)
    )
    assert finish(world) == [(3, "ban")]


@pytest.mark.shows("VER-13", "VER-15", "AGR-8")
@pytest.mark.parametrize("seed", range(3))
def test_who_passed_a_claim_on_learns_who_holds_its_object(seed: int) -> None:
    """Peer 2 hears of the claim from the accuser alone, who does not serve it."""
    world = world_of(4, seed, partial(hidden_claim, told=[2], delay=150), validators=0)
    world.refuses = lambda source, asker, name: (
        (source, asker) == (3, 2) and (world.states[2].at.phase is not Phase.REDUCE)
    )
    assert finish(world) == [(3, "ban")]


@pytest.mark.refuses("VER-9", "MSG-8")
@pytest.mark.parametrize("seed", range(3))
def test_a_validator_that_publishes_a_part_is_ignored(seed: int) -> None:
    """It committed to no part, so there is none to fetch."""
    said = []

    def publish(world: World, peer: int, effect: fx.Effect) -> Iterable[fx.Effect]:
        at = world.states[peer].at
        _, body = own(effect, peer)
        if isinstance(body, Enter) and at.disputed and peer not in at.contributors:
            said.append(peer)
            late = byz.forge(world.configs[peer], 0, Publish(at.number, at.disputed[-1]))
            for receiver in range(peer):
                world.schedule(200, receiver, Received(peer, late))
        return (effect,)

    validating = next(s for s in range(seed * 100, 10_000) if _validates(s, 4))
    world = world_of(5, validating, publish, Growing())
    assert finish(world) == []
    assert said


def _validates(seed: int, peer: int) -> bool:
    """Whether ``peer`` is drawn to validate in step 2 of a run with this seed."""
    world = World(configs(5, parameters(5, 2, f_max=1)), seed)
    world.run(lambda: all(state.at.number == 2 for state in world.states))
    return any(pair.validator == peer for pair in world.states[0].at.pairs)


class Still(Oracle):
    """Aggregates that are the same in every step, as where gradients vanish."""

    def compute(self, me: int, request: cp.Request, entropy: bytes) -> cp.Result:
        if isinstance(request, cp.Aggregate):
            return cp.Aggregated(digest("still", bytes([request.part])))
        return super().compute(me, request, entropy)


@pytest.mark.shows("STP-7")
def test_an_aggregate_that_comes_again_is_kept_for_the_new_step() -> None:
    world = World(configs(4, parameters(4, 4)), 1, oracle=Still())
    world.run(lambda: world.over(range(4)))
    for peer in range(4):
        state = world.states[peer]
        assert state.last is not None
        kept = {bulk.digest: step for bulk, step in state.held.items()}
        assert {kept.get(name) for name in state.last.aggregates} == {4}
        wanted = {
            (e.step, e.digest) for e in world.of(fx.Fetch, peer) if isinstance(e, fx.Fetch) and e.step > 0
        }
        assert {step for step, name in wanted if name in state.last.aggregates} == {1, 2, 3, 4}
