"""A crash in the middle of an agreement: who comes back leaves it to the others, and goes on with them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from btard.statemachine import effects as fx
from btard.statemachine.events import Returned
from btard.statemachine.messages import Commit, Epoch
from btard.statemachine.table import Phase
from btard.wire import encode_payload
from fuzz import byzantine as byz
from fuzz.world import World, configs, parameters
from tests.statemachine.test_bans import expelled

BACK, SILENT = 0, 3
STEPS = 4


def world_of(peers: int, seed: int) -> World:
    """Return a world in which one peer, of no more than are tolerated, falls silent in step 2."""
    tamper = {SILENT: byz.silent(Commit, 2)}
    return World(configs(peers, parameters(peers, STEPS)), seed, tamper=tamper)


def signed_epochs(world: World, peer: int) -> list[Epoch]:
    bodies = [effect.envelope.message.body for effect in world.of(fx.Persist, peer) if effect.envelope.message]  # type: ignore[union-attr]
    return [body for body in bodies if isinstance(body, Epoch)]


@pytest.mark.shows("AGR-25")
@pytest.mark.parametrize("peers", [4, 5])
@given(seed=st.integers(0, 2**32), after=st.integers(0, 2000))
@settings(max_examples=15)
def test_whoever_comes_back_in_an_agreement_goes_on_with_its_outcome(peers: int, seed: int, after: int) -> None:
    world = world_of(peers, seed)
    world.run(lambda: world.states[BACK].phase is Phase.SETTLE)
    began = world.now
    world.run(lambda: world.now >= began + after or world.states[BACK].phase is not Phase.SETTLE)
    settling = world.states[BACK].phase is Phase.SETTLE
    world.step(BACK, Returned())
    if settling:
        assert world.states[BACK].phase is Phase.HALTED
    honest = [peer for peer in range(peers) if peer != SILENT]
    world.run(lambda: world.over(honest))
    assert expelled(world, 1) == [(SILENT, "STP-3", "remove")]
    assert all(world.states[peer].phase is Phase.DONE for peer in honest)
    assert len({world.states[peer].model_digest for peer in honest}) == 1
    assert len(signed_epochs(world, BACK)) <= 1


@pytest.mark.shows("AGR-25")
def test_what_only_it_can_prove_it_shows_to_all_before_it_halts() -> None:
    """Evidence comes to light at the peer that is just back; were it only silent, it would be late itself."""
    world = World(configs(5, parameters(5, STEPS)), 7, tamper={4: byz.honest})
    world.run(lambda: world.states[BACK].at.number == 2)
    world.step(BACK, Returned())
    world.perform(4, fx.Send((BACK,), byz.sign(world.configs[4], 4, byz.NO_MESSAGE)))
    honest = [0, 1, 2, 3]
    world.run(lambda: world.over(honest))
    assert expelled(world, 1) == [(4, "MSG-3", "ban")]
    assert all(world.states[peer].phase is Phase.DONE for peer in honest)


@pytest.mark.refuses("AGR-25")
def test_an_outcome_that_only_cheats_signed_is_not_followed() -> None:
    world = world_of(5, 3)
    world.run(lambda: world.states[BACK].phase is Phase.SETTLE)
    world.step(BACK, Returned())
    state = world.states[BACK]
    lie = Epoch(state.following, state.view, (), (0, 3, 4))
    for cheat in (3, 4):  # f of them
        payload = encode_payload(state.epoch, lie)
        world.perform(cheat, fx.Send((BACK,), byz.sign(world.configs[cheat], cheat, payload)))
    world.run(lambda: world.over([0, 1, 2]))
    assert lie not in signed_epochs(world, BACK)
    assert {peer for peer, *_ in expelled(world, 1)} <= {SILENT, 4}


@pytest.mark.shows("AGR-25")
def test_a_step_that_began_later_ends_the_caution() -> None:
    world = World(configs(4, parameters(4, STEPS)), 5)
    world.run(lambda: world.states[BACK].at.number == 1)
    world.step(BACK, Returned())
    assert world.states[BACK].came_back == (0, 1)
    world.run(lambda: world.states[BACK].at.number == 2)
    assert world.states[BACK].came_back is not None
    world.run(lambda: world.states[BACK].at.number == 3)
    assert world.states[BACK].came_back is None
