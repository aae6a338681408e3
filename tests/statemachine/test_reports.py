"""Reports on former members, and accomplices of a convicted target."""

from collections.abc import Iterable

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from btard.statemachine import compute as cp
from btard.statemachine import effects as fx
from btard.statemachine.messages import Body, Claim, ClaimKind, Envelope, Validate, Vote
from fuzz import byzantine as byz
from fuzz.world import Culprits, Oracle, Tamper, World, configs, parameters
from tests.statemachine.stage import bodies
from tests.statemachine.test_bans import expelled


def vanished(
    seed: int, oracle: Oracle, peers: int = 6, also: dict[int, object] | None = None
) -> tuple[World, int]:
    """Run with a last peer that falls silent when it is a target; return the world and its number."""
    cheat = peers - 1
    tampers = {cheat: byz.vanishing(1), **(also or {})}
    world = World(configs(peers, parameters(peers, 8)), seed, oracle, tamper=tampers)
    honest = [peer for peer in range(peers) if peer not in tampers]
    world.run(lambda: world.released >= set(honest))
    return world, cheat


@pytest.mark.shows("VER-17", "VER-19")
@pytest.mark.refuses("VER-17", "VER-1")
@settings(max_examples=8)
@given(seed=st.integers(0, 2**32), peers=st.integers(4, 7))
def test_going_silent_saves_no_target(seed: int, peers: int) -> None:
    world, cheat = vanished(seed, Culprits(gradient=[peers - 1]), peers)
    for peer in range(peers - 1):
        assert expelled(world, peer) in (
            [],  # never drawn
            [(cheat, "STP-3", "remove"), (cheat, "VER-1", "ban")],
        )
        assert not world.of(fx.Stopped, peer)
        assert world.states[peer].convicted == ({cheat} if expelled(world, peer) else set())
    assert expelled(world, 0) == expelled(world, 1)


@pytest.mark.shows("VER-17")
@settings(max_examples=4)
@given(seed=st.integers(0, 2**32))
def test_a_former_member_that_did_not_cheat_is_only_removed(seed: int) -> None:
    world, cheat = vanished(seed, Oracle())
    assert expelled(world) in ([], [(cheat, "STP-3", "remove")])
    assert not [body for peer in range(5) for body in bodies(world, Vote, peer)]


@pytest.mark.shows("VER-19")
def test_a_report_keeps_no_step_from_its_certificate() -> None:
    world, cheat = next(
        found for seed in range(50) if expelled((found := vanished(seed, Culprits(gradient=[5])))[0])
    )
    out = next(e for e in world.of(fx.Expelled, 0) if isinstance(e, fx.Expelled) and e.kind == "ban")
    assert (out.peer, out.applied) == (cheat, out.step - 1)
    assert world.states[0].epoch == 1  # the removal; the ban needs no agreement
    assert world.states[0].roster == (0, 1, 2, 3, 4)


class LateVerdicts(World):
    """Judges take all the time that they have after the checks of ACCUSE."""

    def duration(self, peer: int, request: cp.Request) -> int:
        if isinstance(request, cp.Judge):
            timing = self.configs[peer].timing
            return timing.c_accuse + timing.c_judge
        return super().duration(peer, request)


def last_target_gone(oracle: Oracle, also: dict[int, Tamper] | None = None) -> World:
    """Run with a last peer that falls silent as the target of the last closing step, until the others left."""
    for seed in range(50):
        tampers = {5: byz.vanishing(7), **(also or {})}
        world = LateVerdicts(configs(6, parameters(6, 1)), seed, oracle, tamper=tampers)
        honest = {0, 1, 2, 3, 4} - set(tampers)
        world.run(lambda world=world, honest=honest: world.released >= honest)  # type: ignore[misc]
        if (5, "STP-3", "remove") in expelled(world):
            assert not [e for peer in honest for e in world.of(fx.Stopped, peer)]
            return world
    raise AssertionError("it was never drawn")


@pytest.mark.shows("STP-11", "VER-19")
@pytest.mark.refuses("VER-17")
def test_a_report_of_the_last_step_is_judged_before_anybody_leaves() -> None:
    world = last_target_gone(Culprits(gradient=[5]))
    for peer in range(5):
        assert expelled(world, peer) == [(5, "STP-3", "remove"), (5, "VER-1", "ban")]


def no_vote(world: World, peer: int, effect: fx.Effect) -> Iterable[fx.Effect]:
    """Send no vote."""
    frame = effect.frame if isinstance(effect, fx.Send) else None
    message = frame.message if isinstance(frame, Envelope) else None
    return () if message and isinstance(message.body, Vote) else (effect,)


@pytest.mark.refuses("STP-11")
def test_who_never_votes_keeps_nobody() -> None:
    """A quorum of the others suffices, and where there is none either, the time is over at last."""
    world = last_target_gone(Culprits(gradient=[5]), {4: no_vote})
    for peer in range(4):
        assert expelled(world, peer) == [(5, "STP-3", "remove"), (5, "VER-1", "ban")]
    undecided = last_target_gone(Culprits(gradient=[5]), dict.fromkeys((2, 3, 4), no_vote))
    assert expelled(undecided) == [(5, "STP-3", "remove")]


def report(body: Body) -> Body:
    former = Claim(ClaimKind.GRADIENT, 5, 0, b"")
    return evolve(body, report=former) if isinstance(body, Validate) else body


class Slow(World):
    """Gradients take as long as COMMIT and judges have for them; VALIDATE has no time for one."""

    audited: dict[int, cp.Work | None]

    def duration(self, peer: int, request: cp.Request) -> int:
        if isinstance(request, cp.Prepare):
            self.audited[peer] = request.audit
        if isinstance(request, cp.Sketch) and request.report and request.report.work != self.audited[peer]:
            return 2000
        return super().duration(peer, request)


@pytest.mark.shows("VER-17", "TIM-2")
def test_a_report_costs_no_time_in_validate() -> None:
    reported = 0
    for seed in range(6):
        params = parameters(6, 8)
        world = Slow(configs(6, params), seed, Culprits(gradient=[5]), tamper={5: byz.vanishing(1)})
        world.audited = {}
        world.run(lambda world=world: world.over(range(5)))  # type: ignore[misc]
        assert {peer for peer, *_ in expelled(world, 0)} <= {5}
        reported += len(world.states[0].convicted)
    assert reported


def reporting() -> Tamper:
    """Report on the last peer once it is gone, whatever is true."""
    change = byz.lying(Validate, 1, report)

    def tamper(world: World, peer: int, effect: fx.Effect) -> Iterable[fx.Effect]:
        gone = world.states[peer].at.absent
        yield from change(world, peer, effect) if gone else (effect,)

    return tamper


@pytest.mark.refuses("VER-6", "VER-17", "MSG-3", "STP-4")
def test_a_false_report_costs_its_author_its_place() -> None:
    outcomes = set()
    for seed in range(2):
        world, cheat = vanished(seed, Oracle(), also={0: reporting()})
        outs = expelled(world, 1)
        assert {peer for peer, *_ in outs} <= {0, cheat}
        assert all(expelled(world, peer) == outs for peer in (2, 3, 4))
        outcomes |= {out for out in outs if out[0] == 0}
    # As the validator of the one that is gone: false. As anybody else it does not fit, and so is late.
    assert outcomes == {(0, "VER-6", "ban"), (0, "STP-3", "remove")}


class Covered(Culprits):
    """Whoever judges the culprits sees that peer 4 looked away."""

    def judged(self, me: int, request: cp.Judge) -> cp.Judged:
        result = super().judged(me, request)
        return evolve(result, accomplices=(4,)) if result.guilty == request.claim.accused else result


@pytest.mark.shows("VER-20", "VER-13")
@pytest.mark.refuses("VER-18")
@settings(max_examples=8)
@given(seed=st.integers(0, 2**32))
def test_an_accomplice_is_convicted_with_the_target(seed: int) -> None:
    world = World(configs(6, parameters(6, 4)), seed, Covered(gradient=[5]))
    world.run(lambda: world.over(range(4)))
    outs = {peer: expelled(world, peer) for peer in range(4)}
    contributed = outs[0] != []
    assert outs[0] == ([(4, "VER-18", "ban"), (5, "VER-1", "ban")] if contributed else [])
    assert all(out == outs[0] for out in outs.values())
    assert not [e for peer in range(4) for e in world.of(fx.Stopped, peer)]


@pytest.mark.refuses("VER-20", "VER-13")
@settings(max_examples=4)
@given(seed=st.integers(0, 2**32))
def test_a_minority_makes_nobody_an_accomplice(seed: int) -> None:
    def smear(body: Body) -> Body:
        return (
            evolve(body, accomplices=(0,)) if isinstance(body, Vote) and body.accuser != body.guilty else body
        )

    tampers = {peer: byz.changed(Vote, 0, smear) for peer in (4,)}
    world = World(configs(6, parameters(6, 4)), seed, Culprits(gradient=[5]), tamper=tampers)
    world.run(lambda: world.over(range(4)))
    assert {peer for peer, *_ in expelled(world, 1)} <= {5}
    assert not [e for peer in range(4) for e in world.of(fx.Stopped, peer)]


def on_a_target(world: World, peer: int) -> Claim | None:
    """Claim the gradient of a target that is another's to validate."""
    targets = [pair.target for pair in world.states[peer].at.pairs if peer not in (pair.validator, pair.target)]
    return Claim(ClaimKind.GRADIENT, targets[0], 0, b"") if targets else None


class Unseen(Culprits):
    """Nobody's own checks find anything."""

    def verify(self, me: int, request: cp.Verify) -> tuple[Claim, ...]:
        return ()


def run(world: World) -> None:
    world.run(lambda: world.over(range(4, 8)))


@pytest.mark.shows("VER-11")
@pytest.mark.refuses("VER-6")
def test_an_aggregator_may_claim_the_gradient_of_anothers_target_at_its_own_risk() -> None:
    outcomes = set()
    for seed in range(6):
        tampers = {0: byz.claiming(2, on_a_target)}
        world = World(configs(8, parameters(8, 3)), seed, Unseen(gradient=[1, 2, 3]), tamper=tampers)
        run(world)
        outcomes |= set(expelled(world, 4))
    assert (0, "VER-6", "ban") in outcomes
    assert outcomes > {(0, "VER-6", "ban")}
    # What the tamper of peer 0 sends is not what its core signed, so one that is asked for both equivocates.
    mine = {(0, rule, "ban") for rule in ("VER-6", "MSG-5")}
    assert outcomes <= mine | {(peer, "VER-1", "ban") for peer in (1, 2, 3)}
