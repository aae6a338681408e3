"""SETTLE and the end of a run: honest peers keep in step, and nobody fails who has finished."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest
from attrs import define, evolve, field

from btard.statemachine import compute as cp
from btard.statemachine import effects as fx
from btard.statemachine.events import Received
from btard.statemachine.messages import (
    Accuse,
    Chain,
    Commit,
    CommitClass,
    Enter,
    Envelope,
    Late,
    Reveal,
)
from btard.statemachine.table import Phase
from btard.wire import class_content
from fuzz import byzantine as byz
from fuzz.world import LINK, Tamper, World, configs, parameters
from tests.statemachine.stage import judgement, tried


@define
class Timed(World):
    """A world in which a test says how long some computations take."""

    takes: Callable[[int, cp.Request], int | None] = field(default=lambda peer, request: None)

    def duration(self, peer: int, request: cp.Request) -> int:
        return self.takes(peer, request) or super().duration(peer, request)


def timed(peers: int, seed: int, tamper: dict[int, Tamper] | None = None, **changes: Any) -> Timed:
    params = parameters(peers, changes.pop("steps", 2), **changes)
    return Timed(configs(peers, params), seed, tamper=tamper or {})


def equivocation(world: World, peer: int, step: int) -> tuple[Envelope, Envelope]:
    """Return two messages of ``peer`` for one slot of its epoch."""
    config, epoch = world.configs[peer], world.states[peer].epoch
    one, other = (Reveal(step, bytes(32), bytes([i]) * 32, bytes(32)) for i in range(2))
    return byz.forge(config, epoch, one), byz.forge(config, epoch, other)


def at_last_ok(world: World, peer: int, effect: fx.Effect) -> Iterable[fx.Effect]:
    """Show the ``ok`` of step 1 to peer 0 alone, and a proof of an own fault to the others a moment later."""
    body = _own_body(effect, peer)
    if isinstance(effect, fx.Send) and isinstance(body, Accuse) and body.step == 1:
        for receiver in (1, 2, 3):
            for envelope in equivocation(world, peer, 1):
                world.schedule(60, receiver, Received(peer, envelope))
        return (evolve(effect, to=(0,)),)
    return (effect,)


def _own_body(effect: fx.Effect, peer: int) -> object:
    if isinstance(effect, fx.Send) and isinstance(effect.frame, Envelope) and effect.frame.author == peer:
        return effect.frame.message.body if effect.frame.message else None
    return None


def tells_order(effect: fx.Effect) -> bool:
    if isinstance(effect, fx.Entered):
        return effect.phase is Phase.SETTLE
    return isinstance(effect, fx.Certified) and effect.step == 1


@pytest.mark.shows("AGR-14", "AGR-15")
def test_honest_peers_enter_the_next_epoch_in_step() -> None:
    """Who must still apply the outcome's step takes longer; the others wait, or rounds would be out of step."""
    assert sum(enters_with_a_slow_peer(seed) for seed in range(12))


def enters_with_a_slow_peer(seed: int) -> bool:
    """Say whether the slow peer had to apply the outcome's step, so that it was the last to be ready."""
    world = timed(5, seed, {4: at_last_ok})
    # Peer 1 is as slow as it may be, the others are fast.
    world.takes = lambda peer, request: (99 if peer == 1 else 1) if isinstance(request, cp.Apply) else None
    world.run(lambda: all(world.states[peer].epoch == 1 for peer in range(4)))
    entered = [time for time, peer, e in world.effects if isinstance(e, fx.RosterChanged) and peer < 4]
    assert max(entered) - min(entered) <= LINK[1]
    order = [type(e) for _, peer, e in world.effects if peer == 1 and tells_order(e)]
    return order == [fx.Entered, fx.Certified]


def hidden_goodbye(world: World, peer: int, effect: fx.Effect) -> Iterable[fx.Effect]:
    """After the last step: say so to all but peer 0; much later prove an own fault to it."""
    body = _own_body(effect, peer)
    if isinstance(effect, fx.Send) and isinstance(body, Enter) and body.entered == Phase.COMMIT:
        for envelope in equivocation(world, peer, body.step - 1):
            world.schedule(500, 0, Received(peer, envelope))
        return (evolve(effect, to=tuple(to for to in effect.to if to != 0)),)
    return (effect,)


@define
class Leaving(Timed):
    """Peers that are released are gone: nothing reaches them and nothing comes from them."""

    def step(self, peer: int, event: Any) -> None:
        if peer not in self.released:
            super().step(peer, event)


@pytest.mark.shows("STP-11", "AGR-18")
@pytest.mark.parametrize("seed", range(3))
def test_evidence_after_the_end_fails_nobody(seed: int) -> None:
    """The others have left, so nobody ratifies with the last one; but it has finished as they have."""
    params = parameters(4, 2, validators=0, f_max=1)
    world = Leaving(configs(4, params), seed, tamper={3: hidden_goodbye})
    world.run(lambda: {0, 1, 2} <= world.released)
    assert [e for e in world.of(fx.Entered, 0) if isinstance(e, fx.Entered) and e.phase is Phase.SETTLE]
    assert not world.of(fx.Stopped, 0)
    assert len(world.of(fx.Finished, 0)) == 1
    assert len({world.states[peer].model_digest for peer in range(3)}) == 1


@pytest.mark.shows("STP-11", "AGR-18")
@pytest.mark.parametrize("seed", range(3))
def test_too_few_are_enough_when_no_step_is_left(seed: int) -> None:
    """Two peers cannot go on; but after the last step they need not."""

    def fault(world: World, peer: int, effect: fx.Effect) -> Iterable[fx.Effect]:
        body = _own_body(effect, peer)
        if isinstance(body, Enter) and body.entered == Phase.COMMIT:
            for envelope in equivocation(world, peer, body.step - 1):
                world.schedule(1, 0, Received(peer, envelope))
            return ()
        return (effect,)

    world = timed(3, seed, {2: fault}, validators=0, f_max=1)
    world.run(lambda: {0, 1} <= world.released)
    assert world.states[0].epoch == 1
    assert not world.of(fx.Stopped, 0) + world.of(fx.Stopped, 1)
    assert [len(world.of(fx.Finished, peer)) for peer in range(2)] == [1, 1]


@pytest.mark.shows("STP-11", "STP-9")
def test_nobody_leaves_before_the_last_step_is_applied() -> None:
    def mute(world: World, peer: int, effect: fx.Effect) -> Iterable[fx.Effect]:
        return () if isinstance(_own_body(effect, peer), Enter) else (effect,)

    world = timed(4, 1, {3: mute}, validators=0)
    slow = world.configs[0].timing.t_accuse + 10 * world.configs[0].timing.delta
    world.takes = lambda peer, request: slow if peer == 0 and request == last_of(world) else None

    def last_of(world: World) -> object:
        return cp.Apply(2, world.states[0].last.aggregates) if world.states[0].last else None

    world.run(lambda: {0, 1, 2} <= world.released)
    said = [e for _, peer, e in world.effects if peer == 0 and isinstance(e, fx.Finished | fx.Released)]
    assert [type(effect) for effect in said] == [fx.Finished, fx.Released]


def in_step(peers: int, number: int, phase: Phase = Phase.COMMIT, **changes: Any) -> World:
    world = timed(peers, 5, steps=4, **changes)
    world.run(lambda: (world.states[0].at.number, world.states[0].phase) == (number, phase))
    return world


@pytest.mark.refuses("AGR-7")
def test_one_peer_cannot_fill_the_others_memory_with_lates() -> None:
    """Only what an honest peer can be missing now is kept and passed on."""
    world = in_step(5, 2, Phase.REVEAL)
    state, kept = world.states[0], 0
    for step in (0, 1, 2, 3):
        for phase in range(5):
            for subject in range(5):
                for part in (-1, *range(5)) if phase == Phase.ACCUSE else (-1,):
                    late = byz.forge(world.configs[4], 0, Late(step, phase, subject, part))
                    state, effects = tried(world, 0, Received(4, late), state)
                    kept += judgement(effects).verdict in ("accept", "defer")
    assert kept == 3 * 5  # REDUCE, REVEAL and VALIDATE of this step


@pytest.mark.refuses("AGR-13", "AGR-17")
def test_a_commit_chain_of_what_is_certified_here_is_not_kept() -> None:
    world = in_step(4, 3)
    state = world.states[0]
    assert state.certificate is not None
    klass, certificate = state.certificate
    assert isinstance(klass, CommitClass)
    config = world.configs[3]
    signature = config.sign(class_content(config.run, 0, klass))
    after, effects = tried(world, 0, Received(3, Chain(0, klass, certificate, ((3, signature),))))
    assert judgement(effects).verdict == "ignore"
    assert after == state


@pytest.mark.shows("AGR-4")
@pytest.mark.refuses("AGR-4")
def test_what_others_make_a_peer_pass_on_does_not_use_up_its_place() -> None:
    """Peer 1 is in the next epoch already, and a cheat has it relay a hundred LATEs before its COMMIT."""
    world = in_step(5, 1)
    state = world.states[0]
    for step in range(100):
        late = byz.forge(world.configs[4], 1, Late(step, 0, 2, -1))
        state, effects = tried(world, 0, Received(1, late), state)
        assert judgement(effects).verdict == "ignore"
    commit = Commit(1, bytes(32), (), bytes(32), bytes(32), bytes(32))
    own = byz.forge(world.configs[1], 1, commit)
    state, effects = tried(world, 0, Received(1, own), state)
    assert judgement(effects).verdict == "defer"
    assert state.deferred == ((1, own),)
    for salt in range(9):
        more = byz.forge(world.configs[1], 1, evolve(commit, model=bytes([salt + 1]) * 32))
        state, effects = tried(world, 0, Received(1, more), state)
    assert len(state.deferred) == 2
