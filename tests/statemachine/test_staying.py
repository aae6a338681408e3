"""STAY: where links broke while an outcome was being signed, all go on, or those whom operators leave in."""

from collections.abc import Iterable

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from btard.statemachine import effects as fx
from btard.statemachine.ending import Ending, enough
from btard.statemachine.events import Received, Resume, Returned
from btard.statemachine.handle import handle
from btard.statemachine.messages import Chain, Envelope, Epoch, Poll, Stay
from btard.statemachine.table import Phase
from fuzz.byzantine import forge, silent
from fuzz.world import World
from tests.statemachine.test_bans import expelled
from tests.statemachine.test_halting import endings_signed, one_history, world_with
from tests.statemachine.test_halting_refused import (
    NOBODY,
    asking,
    behind,
    certificate_of_step_1,
    frames,
    halted,
    happen,
    lasting_outage,
    outage,
    outcome,
    records,
    wait,
)


def half_signed(peers: int, seed: int = 1) -> World:
    """All are halted; peer 0 alone has signed that the last is out: nobody heard of that in time."""
    last, began = peers - 1, list[int]()
    others = set(range(last))

    def cut(now: int, one: int, other: int) -> bool:
        here = (state.at.number == 1 and others <= state.at.delivered for state in world.states[:last])
        if not began and all(here):
            began.append(now)
        return (one == last and world.states[last].at.number > 0) or (other != 0 and bool(began))

    world = world_with(peers, NOBODY, seed)
    world.cut = cut
    world.run(lambda: halted(world, range(peers)))
    assert [len(endings_signed(world, peer)) for peer in range(peers)] == [1] + [0] * last
    return world


@pytest.mark.shows("AGR-15", "AGR-23")
@pytest.mark.parametrize("peers", [4, 5, 8])
def test_where_one_alone_signed_an_outcome_all_stay(peers: int) -> None:
    """Links broke while it was being signed; nobody is Byzantine, and nobody loses its place."""
    world = half_signed(peers)
    world.cut = NOBODY
    world.run(lambda: world.over(range(peers)), limit=300_000)
    one_history(world, range(peers))
    assert {state.rosters for state in world.states} == {(tuple(range(peers)),) * 2}
    assert [type(record) for record in endings_signed(world, 0)] == [Epoch, Stay]
    firsts = [record.first for peer in range(peers) for record in endings_signed(world, peer)[-1:]]  # type: ignore[union-attr]
    assert firsts == [False] + [True] * (peers - 1)


@pytest.mark.shows("AGR-26", "AGR-15")
@pytest.mark.parametrize(("peers", "told"), [(4, (0, 1, 2)), (5, (0, 1, 2, 3)), (5, (1, 2, 3))])
def test_operators_go_on_without_who_was_lost_while_an_outcome_was_signed(
    peers: int, told: tuple[int, ...]
) -> None:
    """Who signed the outcome is carried along where a quorum signed nothing before."""
    world, lost = half_signed(peers), peers - 1
    world.cut = lambda now, one, other: lost in (one, other)
    for peer in told:
        world.schedule(peer, peer, Resume((lost,)))
    world.run(lambda: world.over(range(lost)), limit=300_000)
    one_history(world, range(lost))
    assert {state.roster for state in world.states[:lost]} == {tuple(range(lost))}


@pytest.mark.refuses("AGR-15", "AGR-26")
def test_who_signed_something_before_counts_only_where_all_do() -> None:
    """Among four, three are left, and one of them had signed an outcome: two words are too few."""
    world = half_signed(4)
    world.cut = lambda now, one, other: 3 in (one, other)
    for peer in (0, 1):
        world.schedule(peer, peer, Resume((3,)))
    wait(world, 60_000)
    assert halted(world, range(3))
    world.schedule(0, 2, Resume((3,)))
    world.run(lambda: world.over(range(3)))
    assert {state.roster for state in world.states[:3]} == {(0, 1, 2)}


def all_promised(peers: int = 5) -> World:
    """The last says that it is halted, lets all others sign STAY, and does not sign."""
    world = outage(peers, tamper={peers - 1: silent(Stay, 0)})
    wait(world, 20_000)
    assert halted(world, range(peers - 1))
    assert all(state.stayed is not None for state in world.states[:-1])
    return world


@pytest.mark.shows("AGR-26")
@settings(max_examples=4)
@given(words=st.lists(st.integers(0, 30_000), min_size=4, max_size=4))
def test_who_lets_others_promise_and_signs_nothing_is_given_up(words: list[int]) -> None:
    """All whom a STAY lists suffice, whatever they signed before."""
    world = all_promised()
    for peer, delay in enumerate(words):
        world.schedule(delay, peer, Resume((4,)))
    world.run(lambda: world.over(range(4)), limit=300_000)
    one_history(world, range(4))
    assert {state.roster for state in world.states[:4]} == {(0, 1, 2, 3)}
    assert not any(expelled(world, peer) for peer in range(4))


@pytest.mark.shows("AGR-27")
@pytest.mark.refuses("AGR-15", "AGR-27")
def test_who_has_signed_stay_enters_by_no_outcome() -> None:
    for world, epoch in ((lasting_outage(), 1), (all_promised(), 0)):
        state, effects = happen(world, 3, world.states[3], *records(world, outcome(world, 4), 0, 1, 2))
        assert state.epoch == epoch
        assert (state.phase is Phase.HALTED) == (epoch == 0)
    without = Stay(state.following, state.view, (0, 1, 2, 4), True)
    state, effects = happen(world, 3, state, *records(world, without, 0, 1, 2))
    assert state.halted is not None
    assert state.halted.asked == 0  # but a STAY that leaves it out says that they are gone
    assert not [effect for effect in effects if isinstance(effect, fx.Stopped)]


@pytest.mark.shows("AGR-27", "AGR-17")
def test_who_has_signed_stay_certifies_no_step() -> None:
    """Others said that they stand before step 1, and one of them holds its certificate after all."""
    world = behind()
    polls = [Received(peer, Poll(0, 1, int(Phase.HALTED))) for peer in (1, 2, 3, 4)]
    certificate = Received(2, certificate_of_step_1(world))
    state, _ = happen(world, 0, asking(world, 0), *polls, certificate)
    assert state.stayed == Stay(1, state.view, (0, 1, 2, 3, 4), True)
    assert state.following == 1
    state, _ = happen(world, 0, asking(world, 0), *polls[:3], certificate, polls[3])
    assert state.following == 2
    assert state.stayed is None


@pytest.mark.refuses("AGR-23")
def test_nobody_signs_stay_before_the_record_that_a_poll_names_is_here() -> None:
    """The others' outcome may have enough signatures, and one of them says so before it shows its own."""
    world = lasting_outage()
    before = evolve(world.states[3], polls=type(world.states[3].polls)())
    signed = records(world, outcome(world, 4), 0, 1, 2)
    at = Poll(0, before.following, int(Phase.HALTED))
    polls = [Received(peer, at) for peer in range(5) if peer != 3]
    naming = [evolve(one, frame=evolve(at, record=one.frame.hash)) for one in signed]  # type: ignore[union-attr]
    state, _ = happen(world, 3, before, *naming, polls[3], *signed[:2])
    assert (state.stayed, state.epoch) == (None, 0)
    assert happen(world, 3, state, signed[2])[0].epoch == 1
    state, _ = happen(world, 3, before, naming[0], *polls[1:])
    assert state.stayed is None
    assert happen(world, 3, state, signed[0])[0].stayed is not None


@pytest.mark.shows("AGR-23")
@pytest.mark.refuses("AGR-25")
def test_nobody_signs_stay_while_who_was_away_can_complete_an_outcome() -> None:
    """Of six, three signed that peer 5 is out; peer 3 was away, and follows f+1 of them."""
    world = outage(6)
    before = evolve(world.states[4], polls=type(world.states[4].polls)())
    signed = records(world, outcome(world, 5), 0, 1, 2)
    at = Poll(0, before.following, int(Phase.HALTED))
    polls = [Received(peer, at) for peer in (0, 1, 2, 5)]
    away, _ = happen(world, 4, before, *signed, *polls, Received(3, evolve(at, away=True)))
    assert (away.stayed, away.epoch) == (None, 0)
    state, _ = happen(world, 4, away, *records(world, outcome(world, 5), 3))
    assert state.epoch == 1
    state, _ = happen(world, 4, before, *signed, *polls, Received(3, at))
    assert state.stayed is not None


@pytest.mark.refuses("MSG-5", "AGR-20")
def test_of_many_stays_of_one_member_few_are_kept() -> None:
    """Two for one roster are a fault; of others the one with the smallest roster is kept, for each sender."""
    world = lasting_outage()
    state = world.states[0]
    here = Stay(state.following, state.view, (0, 1, 2, 3, 4), True)
    for roster in [
        (0, 1, 2, 3, 4),
        (0, 2, 3, 4),
        (0, 1, 2, 4),
        (1, 2, 4),
        (0, 2, 4),
        (0, 1, 2, 3, 4),
        (2, 3, 4),
    ]:
        frame = forge(world.configs[4], 0, evolve(here, roster=roster))
        for sender in (4, 3):
            state, _ = handle(world.configs[0], state, Received(sender, frame))
    assert len(state.stays) == 2
    assert not state.evidence
    far = [forge(world.configs[3], 0, evolve(here, next_step=step)) for step in (3, 10**6)]
    assert happen(world, 0, state, *(Received(3, frame) for frame in far))[0] == state
    both = [forge(world.configs[4], 0, evolve(here, roster=(1, 2, 4), next_step=step)) for step in (0, 2)]
    state, _ = happen(world, 0, state, *(Received(4, frame) for frame in both))
    assert set(state.evidence) == {4}


@pytest.mark.refuses("AGR-15", "MSG-3")
@pytest.mark.parametrize("roster", [(4,), (3, 4), (0, 4)])
@pytest.mark.parametrize("stopped", [False, True])
def test_who_signs_to_go_on_with_too_few_is_banned_and_moves_nobody(
    roster: tuple[int, ...], stopped: bool
) -> None:
    """Found by a review: one signature was all of those whom such a record lists, and all others stopped."""
    world = lasting_outage() if stopped else world_with(5, NOBODY)
    if not stopped:
        world.run(lambda: world.states[0].at.number == 2)
    state = world.states[0]
    frame = forge(world.configs[4], 0, Stay(state.following, state.view, roster, True))
    after, effects = handle(world.configs[0], state, Received(4, frame))
    assert after.phase is (Phase.HALTED if stopped else Phase.SETTLE)
    assert [effect.verdict for effect in effects if isinstance(effect, fx.Judgement)] == [fx.Verdict.REJECT]
    both = [frame, forge(world.configs[3], 0, Stay(state.following, state.view, (3, 4), True))]
    ending = Ending(state.following, state.view, (), (3, 4), together=True)
    assert not enough(state.roster, ending, both)  # nor does a ledger take it for a decision


@pytest.mark.shows("AGR-25", "AGR-23")
@pytest.mark.refuses("AGR-25")
def test_who_was_halted_before_a_crash_follows_no_outcome_after_it() -> None:
    """Found by a review: others had signed STAY, since its poll had said that it would sign nothing."""
    began: list[int] = []

    def cut(now: int, one: int, other: int) -> bool:
        here = (state.at.number == 1 and {0, 1, 2} <= state.at.delivered for state in world.states[:3])
        if not began and all(here):
            began.append(now)
        return (one == 3 and world.states[3].at.number > 0) or (other not in (0, 1) and bool(began))

    world = world_with(4, NOBODY)
    world.cut = cut
    world.run(lambda: halted(world, range(4)))
    assert [len(endings_signed(world, peer)) for peer in range(4)] == [1, 1, 0, 0]
    world.cut = lambda now, one, other: {one, other} == {2, 3}  # peers 0 and 1 have all polls, and sign STAY
    wait(world, 5000)
    world.schedule(0, 2, Returned())
    wait(world, 5000)
    world.cut = NOBODY
    world.run(lambda: world.over(range(4)), limit=300_000)
    one_history(world, range(4))
    assert {state.roster for state in world.states} == {(0, 1, 2, 3)}


@pytest.mark.shows("AGR-27", "AGR-26")
def test_a_cheat_that_hid_a_certificate_is_given_up() -> None:
    """It let three sign STAY before a step, and showed the fourth that the step is certified."""
    began: list[int] = []

    def hides(world: World, peer: int, effect: fx.Effect) -> Iterable[fx.Effect]:
        quiet = began and isinstance(effect, fx.Send) and isinstance(effect.frame, Chain | Poll)
        return () if quiet or (isinstance(effect, fx.Send) and world.states[4].following > 1) else (effect,)

    def cut(now: int, one: int, other: int) -> bool:
        if not began and all(state.at.number == 1 and state.phase is Phase.ACCUSE for state in world.states):
            began.append(now)
        return bool(began) and other != 4

    world = world_with(5, NOBODY, tamper={4: hides})
    world.cut = cut
    world.run(lambda: halted(world, range(4)))
    world.cut = NOBODY
    for peer in (1, 2, 3):
        for delay in range(0, 3000, 200):
            world.schedule(delay, peer, Received(4, Poll(0, 1, int(Phase.HALTED))))
    wait(world, 3000)
    assert [state.stayed is None for state in world.states[:4]] == [True, False, False, False]
    assert world.states[4].certificate is not None
    world.schedule(0, 0, Received(4, Chain(0, *world.states[4].certificate, ())))
    wait(world, 60_000)
    assert [state.following for state in world.states[:4]] == [2, 1, 1, 1]
    assert halted(world, range(4))
    for peer in range(4):
        world.schedule(peer * 500, peer, Resume((4,)))
    world.run(lambda: world.over(range(4)), limit=300_000)
    one_history(world, range(4))
    assert {state.roster for state in world.states[:4]} == {(0, 1, 2, 3)}


@pytest.mark.refuses("AGR-23", "AGR-26")
def test_a_quorum_of_those_whom_a_stay_would_list_is_too_few() -> None:
    """The last may hold a certificate that these lack, and the others go on with it."""
    world = behind()
    state, _ = handle(world.configs[0], asking(world, 0), Resume((4,)))
    polls = [Received(peer, Poll(0, 1, int(Phase.HALTED))) for peer in (1, 2, 3)]
    state, _ = happen(world, 0, state, *polls[:2])
    assert state.stayed is None
    state, _ = happen(world, 0, state, polls[2])
    assert state.stayed == Stay(1, state.view, (0, 1, 2, 3), True)


@pytest.mark.shows("MSG-9", "AGR-20")
def test_a_stay_is_shown_to_who_may_have_forgotten_it() -> None:
    """Its journal may be older than the STAY, and its poll says that it is halted."""
    world = all_promised()
    state = evolve(world.states[0], answered=frozenset())
    _, effects = happen(world, 0, state, Received(1, Poll(0, 1, int(Phase.HALTED))))
    shown = [frame for frame in frames(effects, 1) if isinstance(frame, Envelope) and frame.author == 1]
    assert [frame.message.body for frame in shown if frame.message] == [world.states[1].stayed]


@pytest.mark.shows("AGR-27")
def test_whoever_is_bound_by_its_stay_says_what_it_does_not_follow() -> None:
    world = all_promised()
    signed = records(world, outcome(world, 4), 0, 1, 2)
    state, effects = happen(world, 3, world.states[3], *signed, *signed)
    assert [effect.reason for effect in effects if isinstance(effect, fx.Halted)] == [
        state.halted and state.halted.reason
    ]
    assert state.halted is not None
    assert "promised not to follow" in state.halted.reason
