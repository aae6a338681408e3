"""Closing steps: after the last training step every one of its contributions gets its validator."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from btard.statemachine import compute as cp
from btard.statemachine import effects as fx
from btard.statemachine.election import Pair, closing_pairs, closing_steps
from btard.statemachine.messages import Commit, Reduce, Validate
from fuzz.world import Culprits, World, configs, parameters
from tests.reference import drawn, number
from tests.statemachine.stage import bodies
from tests.statemachine.test_bans import expelled, play

RUN, RHO = bytes(range(32)), bytes(range(32, 64))


@pytest.mark.shows("ELE-5", "STP-15")
@given(roster=st.lists(st.integers(0, 1023), min_size=2, max_size=30, unique=True), m=st.integers(1, 9))
def test_every_contributor_is_target_once_and_validator_once(roster: list[int], m: int) -> None:
    steps = closing_steps(len(roster), m)
    pairs = [pair for k in range(1, steps + 1) for pair in closing_pairs(RUN, RHO, 7, k, tuple(roster), m)]
    assert sorted(pair.target for pair in pairs) == sorted(roster)
    assert sorted(pair.validator for pair in pairs) == sorted(roster)
    assert all(pair.validator != pair.target for pair in pairs)
    order = [
        roster[place] for place in drawn("closing pairs", RUN, RHO, number(7), k=len(roster), n=len(roster))
    ]
    assert pairs == [Pair(order[(i + 1) % len(order)], order[i]) for i in range(len(order))]


@pytest.mark.shows("STP-15")
def test_there_are_none_without_validators_or_with_one_contributor() -> None:
    assert (closing_steps(7, 0), closing_steps(1, 1), closing_steps(0, 1)) == (0, 0, 0)
    assert (closing_steps(7, 1), closing_steps(7, 2), closing_steps(7, 7)) == (7, 4, 1)


@pytest.mark.shows("STP-10", "STP-15", "STP-9")
@settings(max_examples=6)
@given(peers=st.integers(4, 7), seed=st.integers(0, 2**32))
def test_a_run_ends_with_them_and_leaves_the_model_alone(peers: int, seed: int) -> None:
    world = play(peers, seed)  # three steps; each applied once
    last = 3 + peers - 1
    assert [e.step for e in world.of(fx.Certified, 0) if isinstance(e, fx.Certified)] == [*range(last + 1)]
    assert all(body.parts == () for body in bodies(world, Commit, 0) if body.step > 3)
    assert all(body.aggregate == b"" for body in bodies(world, Reduce, 0) if body.step > 3)
    requests = [e.request for _, _, e in world.effects if isinstance(e, fx.Compute)]
    prepared = [request for request in requests if isinstance(request, cp.Prepare) and request.step > 3]
    audits = [request.audit.peer for request in prepared if request.audit]
    assert len(set(audits)) == len(audits) == peers - 1  # each contributor of step 3, once


@pytest.mark.shows("STP-10")
def test_only_the_validator_of_a_closing_step_sends_scalars() -> None:
    world = play(5, 2)
    for step in range(4, 8):
        sent = [body for peer in range(5) for body in bodies(world, Validate, peer)]
        assert sum(len(body.norms) > 0 for body in sent if body.step == step) == 1


class InTheLastStep(Culprits):
    """Their gradients are wrong in step 3 only."""

    def _wrong(self, check: cp.GradientCheck | None) -> bool:
        return check is not None and check.work.step == 3 and check.work.peer in self.gradient

    def verify(self, me: int, request: cp.Verify):  # type: ignore[no-untyped-def]
        return super().verify(me, request) if self._wrong(request.audit) else ()


@pytest.mark.refuses("STP-15", "ELE-5", "VER-1")
@settings(max_examples=10)
@given(seed=st.integers(0, 2**32), cheat=st.integers(0, 5))
def test_who_cheats_in_the_last_step_is_found(seed: int, cheat: int) -> None:
    world = World(configs(6, parameters(6, 3)), seed, InTheLastStep(gradient=[cheat]))
    honest = [peer for peer in range(6) if peer != cheat]
    world.run(lambda: world.over(honest))
    first = honest[0]
    requests = [e.request for e in world.of(fx.Compute, cheat) if isinstance(e, fx.Compute)]
    contributed = any(
        isinstance(request, cp.Prepare) and request.step == 3 and request.own for request in requests
    )
    assert expelled(world, first) == ([(cheat, "VER-1", "ban")] if contributed else [])
    outs = [e for e in world.of(fx.Expelled, first) if isinstance(e, fx.Expelled)]
    assert all(out.step > 3 and out.applied == 3 for out in outs)  # its update is in the model, and told so
    assert len({world.states[peer].model_digest for peer in honest}) == 1
