"""Claims, votes and verdicts: what is true convicts, and minorities decide nothing."""

from collections.abc import Iterable

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from btard.statemachine import compute as cp
from btard.statemachine import effects as fx
from btard.statemachine.messages import (
    Accuse,
    Body,
    Claim,
    ClaimKind,
    Commit,
    Envelope,
    NoVerdict,
    Vote,
)
from btard.statemachine.table import Phase
from fuzz import byzantine as byz
from fuzz.world import World
from tests.statemachine.stage import Checking, bodies, expelled, finish, world_of


def claims_of(world: World, outlaws: Iterable[int]) -> list[tuple[int, int, int, Claim]]:
    """Return epoch, step, accuser and claim of what the honest raised."""
    found = []
    for _, peer, effect in world.effects:
        message = effect.envelope.message if isinstance(effect, fx.Persist) else None
        if message and isinstance(message.body, Accuse) and message.body.claim and peer not in outlaws:
            found.append((message.epoch, message.body.step, peer, message.body.claim))
    return found


def judgements(world: World, peer: int) -> list[cp.Judge]:
    requests = [effect.request for effect in world.of(fx.Compute, peer) if isinstance(effect, fx.Compute)]
    return [request for request in requests if isinstance(request, cp.Judge)]


# -- honest claims --------------------------------------------------------------------------------------


@pytest.mark.shows("VER-6", "VER-12", "VER-13")
@pytest.mark.refuses("VER-2")
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_everybody_names_the_first_culprit_and_one_judgement_serves_all(seed: int) -> None:
    """Two lie about one part: one is convicted, then the other; and no honest claim is found false."""
    world = finish(world_of(7, seed, oracle=Checking(spoil=[5, 6])), bad=[5, 6])
    first = min({5, 6} & set(world.first(0, Phase.ACCUSE, 2).at.contributors))
    assert expelled(world) == [(first, "VER-2", "ban"), (11 - first, "VER-2", "ban")]
    raised = claims_of(world, (5, 6))
    assert {(epoch, claim.accused) for epoch, _, _, claim in raised} == {(0, first), (1, 11 - first)}
    assert {claim.part for _, _, _, claim in raised} == {0}
    assert len({claim for _, _, _, claim in raised}) == 2
    for peer in range(5):
        assert sorted(request.epoch for request in judgements(world, peer)) == [0, 1]


@pytest.mark.shows("VER-6", "VER-12")
@pytest.mark.refuses("VER-4")
def test_a_wrong_aggregate_is_claimed_before_anybodys_scalars() -> None:
    world = finish(world_of(6, 4, oracle=Checking(wrong=[4], spoil=[5])), bad=[4, 5])
    out = expelled(world)
    assert {(peer, rule) for peer, rule, _ in out} == {(4, "VER-4"), (5, "VER-2")}
    for _, _, _, claim in claims_of(world, (4, 5)):
        expected = {4: ClaimKind.AGGREGATE, 5: ClaimKind.SCALARS}
        assert claim.kind is expected[claim.accused]


# -- who does not keep to it ----------------------------------------------------------------------------


def says_ok(body: Body) -> Body:
    return evolve(body, claim=None) if isinstance(body, Accuse) else body


@pytest.mark.refuses("VER-4", "VER-10", "VER-12")
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_an_accomplice_that_finds_nothing_saves_nobody(seed: int) -> None:
    """Its `ok` without a check is one message; there is no certificate while anybody accuses."""
    tamper = {4: byz.lying(Accuse, 2, says_ok)}
    world = finish(world_of(6, seed, tamper, Checking(wrong=[5])), bad=[5])
    assert expelled(world) == [(5, "VER-4", "ban")]
    assert 4 in world.states[0].roster


def names_the_second(world: World, peer: int, effect: fx.Effect) -> Iterable[fx.Effect]:
    """Claim on peer 6 what is found on peer 5 first."""
    if not isinstance(effect, fx.Send) or not isinstance(effect.frame, Envelope) or not effect.frame.message:
        return (effect,)
    message = effect.frame.message
    body = message.body
    if message.author != peer or not isinstance(body, Accuse) or body.claim is None or body.claim.accused != 5:
        return (effect,)
    commit = world.states[peer].slots[("phase", message.epoch, body.step, 0, 6)].message
    assert commit is not None
    assert isinstance(commit.body, Commit)
    name = commit.body.parts[body.claim.part]
    other = evolve(body, claim=evolve(body.claim, accused=6, object=name))
    return (fx.Offer(name, None), evolve(effect, frame=byz.forge(world.configs[peer], message.epoch, other)))


@pytest.mark.refuses("VER-12")
@pytest.mark.parametrize("seed", [1, 2])
def test_who_names_a_later_culprit_costs_one_more_judgement_and_no_place(seed: int) -> None:
    """Its claim is true; so it is judged like any other."""
    world = finish(world_of(9, seed, {4: names_the_second}, Checking(spoil=[5, 6])), bad=[5, 6])
    assert {(peer, rule) for peer, rule, _ in expelled(world)} == {(5, "VER-2"), (6, "VER-2")}
    assert 4 in world.states[0].roster
    for peer in range(4):
        first = {request.claim.accused for request in judgements(world, peer) if request.epoch == 0}
        assert first <= {5, 6}


def votes_for(guilty: int) -> byz.Change:
    return lambda body: evolve(body, guilty=guilty) if isinstance(body, Vote) else body


@pytest.mark.refuses("VER-13")
@settings(max_examples=5)
@given(seed=st.integers(0, 2**32), framed=st.integers(0, 3))
def test_false_votes_of_a_minority_decide_nothing(seed: int, framed: int) -> None:
    tamper = {5: byz.changed(Vote, 0, votes_for(framed), range(7))}
    assert expelled(finish(world_of(7, seed, tamper, Checking(spoil=[6])), bad=[6])) == [(6, "VER-2", "ban")]


@pytest.mark.refuses("VER-13")
def test_voting_one_way_to_some_and_another_way_to_others_changes_no_verdict() -> None:
    tamper = {5: byz.changed(Vote, 0, votes_for(0), [0, 1, 2])}
    assert (6, "VER-2", "ban") in expelled(finish(world_of(7, 3, tamper, Checking(spoil=[6])), bad=[6]))


@pytest.mark.refuses("VER-13")
def test_silent_judges_delay_no_verdict() -> None:
    tamper = {5: byz.silent(Vote, 0)}
    assert expelled(finish(world_of(7, 4, tamper, Checking(spoil=[6])), bad=[6])) == [(6, "VER-2", "ban")]


def gives_up(body: Body) -> Body:
    return NoVerdict(body.step, body.accuser, body.claim) if isinstance(body, Vote) else body


@pytest.mark.refuses("VER-15")
@settings(max_examples=5)
@given(seed=st.integers(0, 2**32))
def test_a_minority_that_gives_up_at_once_removes_nobody(seed: int) -> None:
    tamper = {5: byz.changed(Vote, 0, gives_up, range(7))}
    assert expelled(finish(world_of(7, seed, tamper, Checking(spoil=[6])), bad=[6])) == [(6, "VER-2", "ban")]


class Unsure(Checking):
    """Some judges' two recomputations differ, so that they do not vote."""

    def __init__(self, unsure: Iterable[int]) -> None:
        super().__init__(spoil=[6])
        self.unsure = set(unsure)

    def judge(self, me: int, request: cp.Judge) -> int | None:
        """Judge, or not."""
        return None if me in self.unsure else super().judge(me, request)


@pytest.mark.shows("VER-14", "VER-15")
@pytest.mark.refuses("VER-14")
@pytest.mark.parametrize(("unsure", "out"), [(2, [(6, "VER-2", "ban")]), (4, None)])
def test_judges_that_cannot_decide_do_not_vote(unsure: int, out: list[tuple[int, str, str]] | None) -> None:
    """Two of seven change nothing. With four there is no quorum: accuser and accused both go, unbanned."""
    world = world_of(7, 3, oracle=Unsure(range(unsure)))
    world.run(lambda: world.states[0].epoch == 1 or world.states[0].phase.name == "STOPPED")
    assert [bool(bodies(world, Vote, peer)) for peer in range(unsure)] == [False] * unsure
    if out is not None:
        assert expelled(world) == out
    else:
        assert bodies(world, NoVerdict)
        assert {(rule, kind) for _, rule, kind in expelled(world)} == {("AGR-9", "remove")}
        assert (6, "AGR-9", "remove") in expelled(world)
