"""Members that are late time and again: COMMITs say so, and where the run file asks for it they are out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from btard.attacks.forging import forge, own_body
from btard.statemachine import effects as fx
from btard.statemachine.config import quorum
from btard.statemachine.events import Received
from btard.statemachine.messages import Body, Commit, Late, Validate
from btard.statemachine.table import Phase
from fuzz import byzantine as byz
from fuzz.world import Tamper, World, configs, parameters
from tests.statemachine.stage import Checking, Watched, bodies, expelled, finish

Victims = Callable[[int], Iterable[int]]


LINK = 20  # milliseconds: all links are equally fast, so that honest peers enter a phase as good as together


class Even(Watched):
    """A world in which nothing but the attack makes peers late."""

    def latency(self) -> int:
        return LINK


def late_for(victims: Victims) -> Tamper:
    """Show VALIDATE to nobody until just before the time-out, and to these peers, by step, not at all.

    They would pull it, since the others go on, but there is no time left: they say LATE, and get it then.
    """
    entered: dict[int, int] = {}

    def tamper(world: World, peer: int, effect: fx.Effect) -> Iterable[fx.Effect]:
        if isinstance(effect, fx.Entered):
            entered[peer] = world.now
        if own_body(effect, peer, Late):
            return ()  # it does not complain of other cheats
        body = own_body(effect, peer, Validate)
        if not isinstance(body, Validate) or not isinstance(effect, fx.Send):
            return (effect,)
        for receiver in set(effect.to) - set(victims(body.step)):
            due = (
                entered[peer] + world.configs[peer].timing.t_validate - LINK - 5
            )  # others enter a LINK earlier
            world.schedule(max(0, due - world.now), receiver, Received(peer, effect.frame))
        return ()

    return tamper


def accusing(accused: Iterable[int]) -> Tamper:
    """Note, and say in COMMIT, that these were late in every step."""

    def tamper(world: World, peer: int, effect: fx.Effect) -> Iterable[fx.Effect]:
        state = world.states[peer]
        if isinstance(effect, fx.Entered) and effect.phase is Phase.REVEAL:
            for subject in accused:
                said = forge(
                    world.configs[peer], state.epoch, Late(effect.step, int(Phase.REVEAL), subject, -1)
                )
                assert said.message is not None
                state = evolve(state, slots=state.slots.insert(said.message.slot, said))
            world.states[peer] = state
        return (effect,)

    return tamper


def rotating(honest: int, count: int) -> Victims:
    """As many of the honest peers 0 to ``honest`` − 1 in each step, others each time."""
    return lambda step: {(step * count + place) % honest for place in range(count)} if step else ()


def liars(peers: int) -> range:
    """The last of them: the largest minority."""
    return range(peers - (peers - 2) // 2, peers)


def late_run(peers: int, seed: int, tamper: dict[int, Tamper], steps: int, **changes: int) -> Watched:
    """A run without validators, and so without closing steps."""
    params = parameters(peers, steps, validators=0, **changes)
    world = Even(configs(peers, params), seed, oracle=Checking(), tamper=tamper)
    world.seen = []
    return finish(world)


def play(peers: int, seed: int, victims: int, steps: int, **changes: int) -> Watched:
    bad = liars(peers)
    tamper = {liar: late_for(rotating(bad.start, victims)) for liar in bad}
    return late_run(peers, seed, tamper, steps, **changes)


@pytest.mark.refuses("STP-21")
@pytest.mark.shows("STP-20", "AGR-8")
@settings(max_examples=6, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    peers=st.sampled_from([4, 5, 8]),
    limit=st.integers(1, 3),
    fewer=st.integers(0, 1),
)
def test_whom_it_is_late_for_may_change_with_each_step(seed: int, peers: int, limit: int, fewer: int) -> None:
    honest, victims = liars(peers).start, quorum(peers) - 1 - fewer
    within = limit * math.ceil(honest / victims)
    world = play(peers, seed, victims, within + 3, late_limit=limit, window=within)
    assert {(peer, rule, kind) for peer, rule, kind in expelled(world)} == {
        (liar, "STP-3", "remove") for liar in liars(peers)
    }
    out = {e.step for e in world.of(fx.Expelled, 0) if isinstance(e, fx.Expelled)}
    assert max(out) <= within + 2


@pytest.mark.parametrize("peers", [4, 5, 8])
def test_where_the_run_file_does_not_ask_it_stays(peers: int) -> None:
    world = play(peers, 1, quorum(peers) - 1, 6)
    assert expelled(world) == []
    assert all(body.late == () for body in bodies(world, Commit) if isinstance(body, Commit))
    assert any(isinstance(body, Late) for body in bodies(world, Late, 0))


@pytest.mark.shows("STP-21")
def test_below_the_limit_nobody_is_out() -> None:
    """Late for each of four in every other step: twice in a window of four, where three times are too often."""
    world = late_run(5, 3, {4: late_for(rotating(4, 2))}, steps=9, late_limit=3, window=4)
    assert expelled(world) == []
    assert {body.late for body in bodies(world, Commit, 1) if isinstance(body, Commit)} == {(), (4,)}


@pytest.mark.shows("STP-21")
@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 2**32), peers=st.sampled_from([4, 5, 8]))
def test_liars_have_no_honest_peer_removed(seed: int, peers: int) -> None:
    accused = range(liars(peers).start)
    tamper = {liar: accusing(accused) for liar in liars(peers)}
    world = late_run(peers, seed, tamper, steps=5, late_limit=1, window=4)
    assert expelled(world) == []
    assert bodies(world, Commit, peers - 1)[-1].late == tuple(accused)  # type: ignore[union-attr]


@pytest.mark.shows("STP-21")
def test_what_former_members_said_counts_no_more() -> None:
    """Two that lie and are out, and another that goes on: in all as many as a quorum of those who are left."""
    lie = accusing((0, 1, 2))

    def then_silent(world: World, peer: int, effect: fx.Effect) -> Iterable[fx.Effect]:
        done = lie(world, peer, effect)
        return () if world.states[peer].at.number >= 3 and isinstance(effect, fx.Send) else done

    world = late_run(7, 2, {6: lie, 5: then_silent, 4: then_silent}, 6, late_limit=1, window=20, f_max=3)
    assert {peer for peer, _, _ in expelled(world)} == {4, 5}
    assert quorum(5) == 3


@pytest.mark.refuses("STP-20")
@pytest.mark.parametrize(
    ("late", "limit"), [((0,), 0), ((3,), 2), ((1, 0), 2), ((0, 0), 2), ((0, 9), 2)], ids=str
)
def test_a_commit_that_breaks_the_form_bans(late: tuple[int, ...], limit: int) -> None:
    def lie(body: Body) -> Body:
        return evolve(body, late=late) if isinstance(body, Commit) else body

    world = late_run(4, 1, {3: byz.changed(Commit, 2, lie)}, 3, late_limit=limit)
    assert expelled(world) == [(3, "MSG-3", "ban")]


@pytest.mark.shows("STP-20")
def test_in_an_epochs_first_step_nobody_was_late() -> None:
    tamper = {7: late_for(rotating(5, 3)), 6: byz.silent(Commit, 3)}
    world = late_run(8, 5, tamper, steps=5, late_limit=10)
    sent = [m for e in world.of(fx.Persist, 0) if isinstance(e, fx.Persist) and (m := e.envelope.message)]
    said = {(m.epoch, m.body.step): m.body.late for m in sent if isinstance(m.body, Commit)}
    assert said[0, 2] == (7,) == said[1, 4]
    assert said[1, 3] == ()  # though its LATE on 6 is why there is this epoch
