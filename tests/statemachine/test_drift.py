"""A member whose model is not the certified one sits out, fetches it and goes on; twice, and it is late."""

from collections.abc import Callable, Mapping

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from btard.statemachine import compute as cp
from btard.statemachine import effects as fx
from btard.statemachine.messages import Body, Commit
from btard.statemachine.table import Phase
from fuzz import byzantine as byz
from fuzz.world import Oracle, Tamper, World, configs, parameters
from tests.statemachine.test_bans import PHASES, expelled, play

ODD = bytes(range(32))


class Drifting(Oracle):
    """Peers whose model comes out wrong in some steps."""

    def __init__(self, steps: Mapping[int, set[int]]) -> None:
        self.steps = steps

    def model(self, me: int, request: cp.Apply) -> bytes:
        return ODD if request.step in self.steps.get(me, ()) else super().model(me, request)


def told(world: World, at: int = 0) -> list[tuple[int, tuple[int, ...]]]:
    return [(e.step, e.peers) for e in world.of(fx.Drifted, at) if isinstance(e, fx.Drifted)]


@pytest.mark.shows("STP-5", "STP-12", "STP-13", "STP-9")
@settings(max_examples=10)
@given(seed=st.integers(0, 2**32), peers=st.integers(4, 7), step=st.integers(1, 3), who=st.integers(0, 3))
def test_who_drifted_fetches_the_model_and_goes_on(seed: int, peers: int, step: int, who: int) -> None:
    world = play(peers, seed, oracle=Drifting({who: {step}}), steps=5)  # nobody out, equal models at the end
    assert not expelled(world)
    assert told(world) == [(step + 1, (who,))] == told(world, who)
    loaded = [e.request for e in world.of(fx.Compute, who) if isinstance(e.request, cp.Load)]
    assert [request.step for request in loaded] == [step + 1]


@pytest.mark.shows("STP-12", "ELE-3")
def test_who_drifted_contributes_nothing_and_is_nobodys_target() -> None:
    world = World(configs(5, parameters(5, 4)), 3, Drifting({2: {1}}))
    world.run(lambda: all(state.at.number == 3 for state in world.states))
    for state in world.states:
        assert state.last is not None
        assert 2 not in state.last.contributors
        assert all(pair.target != 2 for pair in state.at.pairs)


@pytest.mark.refuses("STP-12", "STP-14")
@settings(max_examples=6)
@given(seed=st.integers(0, 2**32), later=st.integers(1, 2))
def test_who_drifts_twice_is_removed(seed: int, later: int) -> None:
    odd = Drifting({3: {1, 1 + later}})
    world = play(4, seed, oracle=odd, steps=6, culprits=[3])
    assert expelled(world) == [(3, "STP-3", "remove")]
    assert world.of(fx.Expelled)[0].step == 2 + later  # type: ignore[union-attr]


@pytest.mark.shows("STP-14")
def test_drifts_far_apart_cost_nothing() -> None:
    params = parameters(4, 8, window=3)
    world = World(configs(4, params), 1, Drifting({3: {1, 4}}))
    world.run(lambda: world.over(range(4)))
    assert not world.of(fx.Expelled)
    assert told(world) == [(2, (3,)), (5, (3,))]


@pytest.mark.refuses("STP-5")
def test_without_a_majority_everybody_stops() -> None:
    world = World(configs(4), 1, Drifting({2: {1}, 3: {1}}))
    world.run(lambda: all(state.phase is Phase.STOPPED for state in world.states))
    reasons = {e.reason for e in world.of(fx.Stopped) if isinstance(e, fx.Stopped)}
    assert len(reasons) == 1
    assert "no majority of the peers holds one model" in reasons.pop()


@pytest.mark.refuses("STP-13")
@settings(max_examples=6)
@given(seed=st.integers(0, 2**32))
def test_a_holder_that_serves_nothing_keeps_nobody_from_the_model(seed: int) -> None:
    world = World(configs(4, parameters(4, 5)), seed, Drifting({3: {2}}))
    asked: list[int] = []

    def refuses(source: int, asker: int, name: bytes) -> bool:
        if asker == 3 and name == world.states[3].loading:
            asked.append(source)
            return source == asked[0]
        return False

    world.refuses = refuses
    world.run(lambda: world.over(range(4)))
    assert not world.of(fx.Stopped)
    assert len({state.model_digest for state in world.states}) == 1
    assert len(set(asked)) == 2  # f + 1


def odd_model(body: Body) -> Body:
    return evolve(body, model=ODD) if isinstance(body, Commit) else body


@pytest.mark.refuses("STP-5")
@settings(max_examples=6)
@given(seed=st.integers(0, 2**32))
def test_a_cheat_that_says_it_drifted_gains_nothing(seed: int) -> None:
    world = play(5, seed, {4: byz.lying(Commit, 2, odd_model)}, steps=4)
    assert told(world)[0] == (2, (4,))
    assert expelled(world) == [(4, "STP-3", "remove")]


FAULTS = [byz.garbage, byz.silent, lambda kind, step: byz.changed(kind, step, byz.other_digest, {0})]


@pytest.mark.shows("AGR-14", "STP-13")
@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    peers=st.integers(4, 6),
    who=st.integers(0, 2),
    drift=st.integers(1, 3),
    later=st.integers(1, 2),
    kind=st.sampled_from(PHASES),
    fault=st.sampled_from(FAULTS),
)
def test_a_drift_that_meets_a_freeze_costs_nothing(
    seed: int,
    peers: int,
    who: int,
    drift: int,
    later: int,
    kind: type[Body],
    fault: Callable[[type[Body], int], Tamper],
) -> None:
    """Whether the freeze finds the drifted peer before, while or after it fetches the certified model."""
    # More steps than the last fault: in a closing step VALIDATE may hold nothing that could be changed.
    world = play(peers, seed, {peers - 1: fault(kind, drift + later)}, Drifting({who: {drift}}), steps=6)
    assert len(expelled(world)) == 1
    assert {step for step, _ in told(world)} == {drift + 1}


@pytest.mark.shows("AGR-14")
@pytest.mark.parametrize("seed", range(5))
def test_a_freeze_in_commit_finds_the_drift_again_in_the_next_epoch(seed: int) -> None:
    world = play(5, seed, {4: byz.garbage(Commit, 2)}, Drifting({1: {1}}))
    assert expelled(world) == [(4, "MSG-3", "ban")]
    assert told(world)[-1] == (2, (1,))
    assert [e.request.step for e in world.of(fx.Compute, 1) if isinstance(e.request, cp.Load)] == [2]
