"""Cheats that evidence or a verdict shows: who is out, by which rule, and nobody else."""

from collections.abc import Callable, Iterable

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from btard.hashing import digest
from btard.statemachine import effects as fx
from btard.statemachine.compute import Apply, Judge
from btard.statemachine.messages import (
    Accuse,
    Body,
    Claim,
    ClaimKind,
    Commit,
    Envelope,
    NoVerdict,
    Reduce,
    Reveal,
    Validate,
    Vote,
)
from fuzz import byzantine as byz
from fuzz.world import Culprits, Oracle, Tamper, World, configs, parameters

PHASES = [Commit, Reduce, Reveal, Validate, Accuse]


def play(
    peers: int,
    seed: int,
    tamper: dict[int, Tamper] | None = None,
    oracle: Oracle | None = None,
    steps: int = 3,
    culprits: Iterable[int] = (),
    ready: Callable[[World], None] | None = None,
) -> World:
    """Run until all honest peers have finished; check that they agree on everything."""
    params = parameters(peers, steps, f_max=(peers - 2) // 2)
    world = World(configs(peers, params), seed, oracle=oracle or Oracle(), tamper=tamper or {})
    bad = {*(tamper or {}), *culprits}
    honest = [peer for peer in range(peers) if peer not in bad]
    if ready:
        ready(world)
    world.run(lambda: world.over(honest))
    ended = [e for peer in honest for kind in (fx.Stopped, fx.Halted) for e in world.of(kind, peer)]
    assert not ended
    assert len({world.states[peer].model_digest for peer in honest}) == 1
    outs = [expelled(world, peer) for peer in honest]
    assert all(out == outs[0] for out in outs)
    assert {peer for peer, *_ in outs[0]} <= bad
    for peer in honest:
        applied = [e.request.step for e in world.of(fx.Compute, peer) if isinstance(e.request, Apply)]
        assert applied == list(range(1, steps + 1))
    return world


def expelled(world: World, at: int = 0) -> list[tuple[int, str, str]]:
    return [(e.peer, e.rule, e.kind) for e in world.of(fx.Expelled, at) if isinstance(e, fx.Expelled)]


@pytest.mark.shows("AGR-9", "AGR-10", "AGR-11", "AGR-12", "AGR-14", "AGR-15", "AGR-16")
@pytest.mark.refuses("MSG-5")
@settings(max_examples=8)
@given(
    kind=st.sampled_from(PHASES),
    seed=st.integers(0, 2**32),
    step=st.integers(1, 3),
    fooled=st.sets(st.sampled_from([0, 1, 2]), min_size=1, max_size=2),
)
def test_equivocation_bans(kind: type[Body], seed: int, step: int, fooled: set[int]) -> None:
    world = play(4, seed, {3: byz.changed(kind, step, byz.other_digest, fooled)})
    # A false opening or state is caught as what it is by those that it fools, if they see it first.
    assert [(peer, how) for peer, _, how in expelled(world)] == [(3, "ban")]
    assert expelled(world)[0][1] in {"MSG-5", "RND-2"}


@pytest.mark.refuses("MSG-1", "MSG-3")
@pytest.mark.parametrize("kind", PHASES)
def test_a_signed_malformed_message_bans(kind: type[Body]) -> None:
    assert expelled(play(4, 5, {3: byz.garbage(kind, 2)})) == [(3, "MSG-3", "ban")]


def too_long(body: Body) -> Body:
    return evolve(body, sketches=b"\x00" * 6 + b"\xf0\x7f" + body.sketches[8:]) if body.sketches else body  # type: ignore[union-attr]


@pytest.mark.refuses("SKT-4", "MSG-3", "STP-10")
@pytest.mark.parametrize(
    ("kind", "change"),
    [
        (Validate, too_long),
        (Validate, lambda body: evolve(body, norms=b"\xff" * len(body.norms)) if body.norms else body),
        (Validate, lambda body: evolve(body, norms=body.norms + bytes(8))),
        (Commit, lambda body: evolve(body, parts=(bytes(32),) * 3)),
        (Accuse, lambda body: evolve(body, claim=Claim(ClaimKind.GRADIENT, 3, 0, b""))),
        (Vote, lambda body: evolve(body, guilty=77)),
    ],
)
def test_bad_form_bans(kind: type[Body], change: Callable[[Body], Body]) -> None:
    world = play(6, 1, {3: byz.changed(kind, 1, change)}, oracle=Culprits(scalars=[4]), culprits=[4])
    assert (3, "MSG-3", "ban") in expelled(world)


@pytest.mark.refuses("RND-2", "RND-4")
@pytest.mark.parametrize("kind", [Reveal, Accuse])
def test_a_wrong_opening_bans(kind: type[Body]) -> None:
    assert expelled(play(4, 3, {2: byz.changed(kind, 2, byz.other_digest)})) == [(2, "RND-2", "ban")]


@pytest.mark.refuses("STP-3", "STP-8")
@pytest.mark.shows("AGR-7", "AGR-9", "AGR-10")
@settings(max_examples=8)
@given(kind=st.sampled_from(PHASES), seed=st.integers(0, 2**32), peers=st.integers(4, 6))
def test_silence_removes(kind: type[Body], seed: int, peers: int) -> None:
    world = play(peers, seed, {peers - 1: byz.silent(kind, 2)})
    assert expelled(world) == [(peers - 1, "STP-3", "remove")]


@pytest.mark.refuses("STP-4", "AGR-2", "AGR-3", "VER-11")
@pytest.mark.parametrize(
    ("kind", "change"),
    [
        (Commit, lambda body: evolve(body, parts=(bytes(32),) * 4 if not body.parts else ())),
        (Commit, lambda body: evolve(body, prev=bytes(32))),
        (Reduce, lambda body: evolve(body, aggregate=b"")),
        (Validate, lambda body: evolve(body, sketches=bytes(512), norms=bytes(8))),
        (Validate, lambda body: evolve(body, prev=bytes(32))),
        (Accuse, lambda body: evolve(body, claim=Claim(ClaimKind.AGGREGATE, 0, 0, b""))),
        (Accuse, lambda body: evolve(body, claim=Claim(ClaimKind.SCALARS, 0, 700, bytes(32)))),
        (Accuse, lambda body: evolve(body, claim=Claim(ClaimKind.VALIDATOR, 0, 0, b""))),
    ],
)
def test_what_does_not_fit_is_not_delivered(kind: type[Body], change: Callable[[Body], Body]) -> None:
    assert expelled(play(4, 11, {3: byz.changed(kind, 2, change)})) == [(3, "STP-3", "remove")]


class Scattered(Oracle):
    """From step 2 on, these peers have a model of their own each."""

    def __init__(self, scattered: Iterable[int]) -> None:
        self.scattered = set(scattered)

    def model(self, me: int, request: Apply) -> bytes:
        own = digest("own model", bytes([me]))
        return own if me in self.scattered and request.step == 1 else super().model(me, request)


@pytest.mark.refuses("STP-5")
@pytest.mark.parametrize("scattered", [[2, 3], [1, 2, 3], [0, 1, 2, 3]])
def test_where_no_majority_holds_one_model_everybody_stops(scattered: list[int]) -> None:
    world = World(configs(4), 6, oracle=Scattered(scattered))
    world.run(lambda: world.over(range(4)))
    reasons = [effect.reason for effect in world.of(fx.Stopped) if isinstance(effect, fx.Stopped)]
    assert len(reasons) == 4
    for reason in reasons:
        assert reason.startswith("step 2: no majority of the peers holds one model")
        assert "numerics class" in reason
        assert "\n" not in reason
    assert not world.of(fx.Expelled)


@pytest.mark.refuses("VER-1", "VER-2", "VER-4")
@pytest.mark.shows("VER-12", "VER-13")
@settings(max_examples=4)
@given(seed=st.integers(0, 2**32), kind=st.sampled_from(["gradient", "scalars"]))
def test_claims_convict_the_guilty(seed: int, kind: str) -> None:
    oracle = Culprits(**{kind: [4]})
    world = play(5, seed, oracle=oracle, culprits=[4], steps=30)
    assert expelled(world) == [(4, {"gradient": "VER-1", "scalars": "VER-2"}[kind], "ban")]


def false_gradient_claim(world: World, peer: int) -> Claim | None:
    pairs = [pair for pair in world.states[peer].at.pairs if pair.validator == peer]
    return Claim(ClaimKind.GRADIENT, pairs[0].target, 0, b"") if pairs else None


def false_scalars_claim(world: World, peer: int) -> Claim | None:
    at, state = world.states[peer].at, world.states[peer]
    part = at.aggregators.index(peer)
    accused = next(p for p in at.contributors if p != peer)
    commit = state.slots[("phase", state.epoch, at.number, 0, accused)].message.body  # type: ignore[union-attr]
    assert isinstance(commit, Commit)
    return Claim(ClaimKind.SCALARS, accused, part, commit.parts[part])


@pytest.mark.refuses("VER-6")
@pytest.mark.shows("VER-13")
def test_a_false_claim_bans_its_author() -> None:
    world = play(4, 12, {1: byz.claiming(2, false_scalars_claim)})
    assert expelled(world) == [(1, "VER-6", "ban")]
    judgements = [e for e in world.of(fx.Compute, 0) if isinstance(e.request, Judge)]
    assert len(judgements) == 1


def test_false_votes_of_a_minority_change_nothing() -> None:
    world = play(6, 4, {3: byz.voting(0)}, oracle=Culprits(gradient=[4]), culprits=[4], steps=20)
    assert expelled(world) == [(4, "VER-1", "ban")]


class Undecided(Culprits):
    def judge(self, me: int, request: Judge) -> int | None:
        return None


@pytest.mark.shows("VER-15")
@pytest.mark.refuses("VER-14")
def test_no_verdict_removes_both() -> None:
    params = parameters(6, 20, f_max=2)
    world = World(configs(6, params), 2, oracle=Undecided(gradient=[5]))
    world.run(lambda: world.states[0].epoch == 1)
    out = expelled(world)
    assert len(out) == 2
    assert (5, "AGR-9", "remove") in out
    assert {rule for _, rule, _ in out} == {"AGR-9"}
    said = [e.envelope for e in world.of(fx.Persist) if isinstance(e, fx.Persist)]
    assert [env for env in said if env.message and isinstance(env.message.body, NoVerdict)]


@pytest.mark.refuses("AGR-9")
def test_crying_late_removes_nobody() -> None:
    world = play(4, 6, {3: byz.crying_late(2, 0)})
    assert expelled(world) == []


@pytest.mark.shows("AGR-5", "AGR-6", "AGR-8")
@settings(max_examples=8)
@given(kind=st.sampled_from(PHASES), seed=st.integers(0, 2**32))
def test_a_message_shown_to_one_reaches_all(kind: type[Body], seed: int) -> None:
    """Who shows its messages to one honest peer only gains nothing: the others pull them."""
    assert expelled(play(4, seed, {3: byz.to_some(kind, 1, [0])})) == []


def signature_of_another_run(world: World) -> Envelope:
    other = configs(len(world.configs), run=b"another run".ljust(32))
    return byz.forge(other[3], 0, Reveal(2, bytes(32), bytes(32), bytes(32)))


@pytest.mark.refuses("MSG-2", "MSG-8")
def test_a_replay_from_another_run_is_rejected() -> None:
    world = World(configs(4), 1)
    world.run(lambda: world.states[0].at.number == 2)
    from btard.statemachine.events import Received
    from btard.statemachine.handle import handle

    envelope = signature_of_another_run(world)
    state, effects = handle(world.configs[0], world.states[0], Received(3, envelope))
    assert state == world.states[0]
    assert [e.verdict for e in effects if isinstance(e, fx.Judgement)] == ["reject"]
    assert [e.rule for e in effects if isinstance(e, fx.Judgement)] == ["MSG-2"]


@pytest.mark.shows("AGR-13", "AGR-16")
@settings(max_examples=6)
@given(seed=st.integers(0, 2**32))
def test_three_cheats_in_one_run(seed: int) -> None:
    oracle = Culprits(gradient=[5, 6])
    tamper = {7: byz.changed(Reduce, 3, byz.other_digest, [0, 2])}
    world = play(8, seed, tamper, oracle=oracle, culprits=[5, 6], steps=30)
    out = expelled(world)
    assert (7, "MSG-5", "ban") in out
    assert {peer for peer, _, _ in out} == {5, 6, 7}
    assert world.states[0].banned == (5, 6, 7)
