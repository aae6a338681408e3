"""Parts and aggregates that fail to come: nobody stops for them, and only who withholds them can lose its place."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from btard.statemachine.config import faults
from btard.statemachine.messages import Need
from fuzz import byzantine as byz
from fuzz.world import World
from tests.statemachine.stage import Watched, bodies, expelled, finish, world_of

SIZES = (4, 5, 8)
seeds = st.integers(0, 2**32)


def run_of(peers: int, seed: int, **changes: object) -> tuple[Watched, range, range]:
    """Return a world before its first event, its honest peers, and its liars: as many as it may bear."""
    world = world_of(peers, seed, steps=2, f_max=faults(peers), **{"validators": 0, **changes})
    return world, range(peers - faults(peers)), range(peers - faults(peers), peers)


def removed(world: World) -> set[tuple[int, str]]:
    """Return who is out in the eyes of peer 0, and how."""
    return {(peer, kind) for peer, _, kind in expelled(world)}


@pytest.mark.shows("STP-16", "STP-17", "STP-18", "STP-19", "TIM-3", "TIM-4")
@settings(max_examples=12)
@given(seed=seeds, data=st.data())
@pytest.mark.parametrize("peers", SIZES)
def test_who_withholds_parts_removes_nobody_but_itself(peers: int, seed: int, data: st.DataObject) -> None:
    """Whomever the liars give nothing, and to whomever they publish: all honest peers finish, none is out."""
    world, honest, liars = run_of(peers, seed)
    some = st.sets(st.sampled_from(honest))
    byz.withhold_parts(world, liars, data.draw(some.filter(bool)), data.draw(some))
    finish(world)
    assert removed(world) <= {(liar, "remove") for liar in liars}
    assert any(bodies(world, Need, peer) for peer in honest)


@pytest.mark.refuses("STP-6", "STP-18", "STP-19")
@pytest.mark.parametrize("peers", SIZES)
@pytest.mark.parametrize("from_all", [False, True])
def test_who_publishes_nothing_is_removed(peers: int, from_all: bool) -> None:
    world, honest, liars = run_of(peers, peers)
    byz.withhold_parts(world, liars, honest if from_all else honest[:1], ())
    finish(world)
    assert removed(world) == {(liar, "remove") for liar in liars}
