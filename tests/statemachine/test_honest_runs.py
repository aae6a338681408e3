"""Without faults: everybody finishes, with the same model, and nobody says a bad word."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from btard.statemachine import effects as fx
from btard.statemachine.compute import Aggregate, Apply, Prepare
from btard.statemachine.messages import Accuse, Commit, Envelope, Late, Reduce, Reveal, Validate
from btard.statemachine.table import Phase
from fuzz.world import World, configs, parameters


def run(peers: int, steps: int, seed: int) -> World:
    world = World(configs(peers, parameters(peers, steps)), seed)
    world.run(lambda: world.over(range(peers)))
    return world


@pytest.mark.shows("STP-3", "STP-8", "STP-9", "STP-10", "AGR-1", "AGR-3", "MSG-8")
@settings(max_examples=15)
@given(peers=st.integers(3, 7), steps=st.integers(1, 4), seed=st.integers(0, 2**32))
def test_honest_peers_finish_with_one_model(peers: int, steps: int, seed: int) -> None:
    world = run(peers, steps, seed)
    assert len({state.model_digest for state in world.states}) == 1
    assert not world.of(fx.Expelled)
    assert not world.of(fx.Stopped)
    assert not [e for e in world.of(fx.Judgement) if isinstance(e, fx.Judgement) and e.verdict == "reject"]
    for peer in range(peers):
        applied = [e.request.step for e in world.of(fx.Compute, peer) if isinstance(e.request, Apply)]
        assert applied == list(range(1, steps + 1))


def signed(world: World, peer: int) -> list[Envelope]:
    return [effect.envelope for effect in world.of(fx.Persist, peer) if isinstance(effect, fx.Persist)]


@pytest.mark.shows("MSG-5", "STP-3", "STP-10", "STP-15")
def test_one_message_a_slot() -> None:
    """Steps 0 to 3, and a closing step for each of the three that contribute in step 3."""
    world = run(4, 3, 7)
    for peer in range(4):
        slots = [envelope.message.slot for envelope in signed(world, peer) if envelope.message]
        assert len(slots) == len(set(slots))
        phases = [slot for slot in slots if slot[0] == "phase"]
        assert phases == [("phase", 0, step, phase, peer) for step in range(7) for phase in range(5)]
    assert not [env for env in signed(world, 0) if env.message and isinstance(env.message.body, Late)]


@pytest.mark.shows("MSG-7")
def test_persisted_before_sent() -> None:
    world = run(3, 2, 1)
    durable: set[bytes] = set()
    for _, peer, effect in world.effects:
        if isinstance(effect, fx.Persist):
            durable.add(effect.envelope.hash)
        if isinstance(effect, fx.Send) and isinstance(effect.frame, Envelope) and effect.frame.author == peer:
            assert effect.frame.hash in durable


@pytest.mark.shows("STP-6", "RND-3")
def test_barriers_of_a_step() -> None:
    """Parts are served after all COMMITs, the sketch value opened after all REDUCEs, ACCUSE comes last."""
    world = run(5, 2, 3)
    sender = dict.fromkeys(range(5), -1)
    order = {Commit: 0, Reduce: 1, Reveal: 2, Validate: 3, Accuse: 4}
    said: dict[int, int] = {}  # position: how many members have sent
    for _, peer, effect in world.effects:
        if isinstance(effect, fx.Send) and isinstance(effect.frame, Envelope) and effect.frame.author == peer:
            body = effect.frame.message.body if effect.frame.message else None
            if type(body) in order and body is not None:
                position = 5 * body.step + order[type(body)]
                if position > sender[peer]:
                    assert said.get(position - 1, 5) == 5, "sent before the preceding phase was complete"
                    said[position] = said.get(position, 0) + 1
                    sender[peer] = position
        if isinstance(effect, fx.Offer) and effect.to is not None:
            assert said[5 * (sender[peer] // 5)] == 5, "served a part before all COMMITs"
            assert len(effect.to) == 1


@pytest.mark.shows("ELE-1", "ELE-4", "STP-7", "TRN-1")
def test_who_computes_what() -> None:
    world = run(5, 4, 9)
    for peer in range(5):
        prepares = [e.request for e in world.of(fx.Compute, peer) if isinstance(e.request, Prepare)]
        assert prepares[0].own is None
        assert prepares[0].audit is None
        assert [request.step for request in prepares] == list(range(9))
        for request in prepares[1:5]:
            assert (request.own is None) == (request.audit is not None)
            if request.audit:
                assert request.audit.step == request.step - 1
        for request in prepares[5:]:  # closing steps: nobody contributes
            assert request.own is None
            assert request.audit is None or request.audit.step == 4
    for step in range(1, 5):
        reduces = [
            e.request
            for e in world.of(fx.Compute)
            if isinstance(e.request, Aggregate) and e.request.step == step
        ]
        assert sorted(request.part for request in reduces) == list(range(5))
        assert {len(request.objects) for request in reduces} == {5 if step == 1 else 4}


@pytest.mark.shows("STP-11")
def test_a_peer_leaves_when_all_are_done() -> None:
    world = World(configs(4, parameters(4, 1)), 2)
    world.run(lambda: all("released" in state.at.asked for state in world.states))
    for peer in range(4):
        times = [t for t, who, e in world.effects if who == peer and isinstance(e, fx.Released)]
        assert times
        assert world.states[peer].phase is Phase.DONE


@pytest.mark.shows("STP-2")
@given(seed=st.integers(0, 2**32))
@settings(max_examples=5)
def test_the_same_inputs_give_the_same_effects(seed: int) -> None:
    first, second = run(4, 2, seed), run(4, 2, seed)
    assert first.effects == second.effects
    assert first.states == second.states
    assert {hash(state) for state in first.states} == {hash(state) for state in second.states}
