"""What cheats make of polls, records and certificates: nothing that an honest peer would notice."""

from collections.abc import Iterable
from functools import cache

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from btard.attacks.forging import own_body
from btard.statemachine import effects as fx
from btard.statemachine.compute import Load
from btard.statemachine.events import Fired, Received
from btard.statemachine.handle import handle
from btard.statemachine.messages import (
    Accuse,
    Body,
    Certificate,
    Chain,
    Commit,
    CommitClass,
    Envelope,
    Epoch,
    Evidence,
    EvidenceKind,
    GuiltyClass,
    Late,
    Poll,
    Stay,
)
from btard.statemachine.state import State
from btard.statemachine.table import Phase
from btard.wire import class_content
from fuzz.byzantine import changed, forge, sign, silent, to_some
from fuzz.world import Tamper, World, configs, parameters
from tests.statemachine.stage import expelled, judgement, tried
from tests.statemachine.test_halting import Cut, between, endings_signed, one_history, reasons, world_with

NOBODY: Cut = between(0, 0)
OUTAGE: Cut = between(0, 10**9)


def halted(world: World, peers: Iterable[int]) -> bool:
    return all(world.states[peer].phase is Phase.HALTED for peer in peers)


def outage(peers: int = 4, seed: int = 1, tamper: dict[int, Tamper] | None = None) -> World:
    """All links broke in step 1; everybody is halted after step 0, and the links are back."""
    world = world_with(peers, NOBODY, seed, tamper)
    world.run(lambda: all(state.at.number == 1 for state in world.states))
    world.cut = OUTAGE
    world.run(lambda: halted(world, range(peers)))
    world.cut = NOBODY
    return world


@cache
def lasting_outage() -> World:
    """The same with five peers, for tests that change nothing in it."""
    return outage(5)


def wait(world: World, milliseconds: int) -> None:
    end = world.now + milliseconds
    world.run(lambda: world.now >= end or world.over(range(len(world.states))))


def frames(effects: Iterable[fx.Effect], to: int | None = None) -> list[object]:
    """Return the frames that are sent, to all or to one."""
    return [e.frame for e in effects if isinstance(e, fx.Send) and (to is None or to in e.to)]


def sent(world: World, peer: int, to: int) -> list[object]:
    return frames(world.of(fx.Send, peer), to)


def happen(world: World, peer: int, state: State, *received: Received) -> tuple[State, list[fx.Effect]]:
    """Let messages meet a peer in this state, one after the other."""
    done: list[fx.Effect] = []
    for event in received:
        state, effects = handle(world.configs[peer], state, event)
        done += effects
    return state, done


# -- polls ----------------------------------------------------------------------------------------------


def crying_halt(world: World, peer: int, effect: fx.Effect) -> Iterable[fx.Effect]:
    """Say with each message to be halted, here and there, and go on all the same."""
    state = world.states[peer]
    yield effect
    if isinstance(effect, fx.Send) and state.phase is not Phase.HALTED:
        for step in (state.following, state.following + 1, 10**6):
            for phase in (Phase.HALTED, Phase.COMMIT):
                yield fx.Send(effect.to, Poll(state.epoch, step, int(phase)))


@pytest.mark.refuses("AGR-19", "AGR-23")
@settings(max_examples=2)
@given(seed=st.integers(0, 2**32))
def test_who_says_falsely_to_be_halted_holds_up_nobody(seed: int) -> None:
    world = world_with(4, NOBODY, seed, {3: crying_halt})
    world.run(lambda: world.over(range(4)))
    assert not world.of(fx.Halted)
    assert {state.epoch for state in world.states} == {0}
    assert all(len(state.polls) <= 1 for state in world.states)
    one_history(world, range(4))


@pytest.mark.refuses("AGR-20")
@given(
    polls=st.lists(
        st.builds(
            Poll,
            epoch=st.integers(0, 3),
            next_step=st.integers(0, 2**40),
            phase=st.integers(0, 8),
        ),
        min_size=2,
        max_size=30,
    )
)
@settings(max_examples=20)
def test_a_flood_of_polls_is_answered_once(polls: list[Poll]) -> None:
    """Once per member and delta; what is kept of them does not grow."""
    flooded = lasting_outage()
    before = flooded.states[0]
    state, effects = happen(flooded, 0, before, *(Received(3, poll) for poll in polls))
    once = happen(flooded, 0, before, *[Received(3, poll) for poll in polls if poll.epoch == 0][:1])[1]
    assert frames(effects, 3) == frames(once, 3)
    assert not [frame for peer in (1, 2, 4) for frame in frames(effects, peer)]
    assert len([e for e in effects if isinstance(e, fx.SetTimer)]) <= 1
    assert len(state.polls) <= len(before.polls) + 1
    assert state.answered <= {3}
    assert evolve(state, polls=before.polls, answered=before.answered, served=before.served) == before


@pytest.mark.refuses("AGR-20")
@given(st.lists(st.integers(0, 2**40), min_size=2, max_size=30, unique=True))
@settings(max_examples=20)
def test_of_a_flood_of_polls_that_all_say_something_else_few_are_noted(steps: list[int]) -> None:
    """What is noted goes into the journal: two a delta for each member at most, in whatever phase."""
    going = world_with(4, NOBODY)
    going.run(lambda: going.states[0].at.number == 1)
    for world in (going, lasting_outage()):
        state, noted = world.states[0], 0
        for step in steps:
            before = state
            state, _ = handle(world.configs[0], before, Received(3, Poll(0, step, int(Phase.HALTED))))
            noted += state is not before
        assert 1 <= noted <= 2


@pytest.mark.shows("AGR-20")
def test_an_answer_is_given_again_after_delta() -> None:
    world, poll = lasting_outage(), Received(3, Poll(0, 0, int(Phase.HALTED)))
    state, first = happen(world, 0, world.states[0], poll)
    assert [frame for frame in frames(first, 3) if isinstance(frame, Chain)]
    state, nothing = happen(world, 0, state, poll)
    assert not frames(nothing)
    state, _ = handle(world.configs[0], state, Fired(("answered", 3)))
    assert frames(happen(world, 0, state, poll)[1], 3) == frames(first, 3)


@pytest.mark.refuses("AGR-20")
def test_who_was_no_member_or_is_ahead_gets_no_answer() -> None:
    world = world_with(4, NOBODY, tamper={3: silent(Commit, 1)})
    world.run(lambda: world.over(range(3)))
    for poll in (Poll(1, 0, int(Phase.HALTED)), Poll(2, 0, 0), Poll(2**60, 2**60, int(Phase.HALTED))):
        state, effects = tried(world, 0, Received(3, poll))
        assert state == world.states[0]
        assert judgement(effects).verdict is fx.Verdict.IGNORE
        assert not frames(effects)


# -- certificates and evidence that come as answers -----------------------------------------------------


def left_behind(world: World) -> State:
    """Run until peer 0 alone has not certified step 1: what the others send last does not reach it."""

    def last_ok_missed(now: int, one: int, other: int) -> bool:
        state = world.states[0]
        return other == 0 and (state.at.number, state.phase) == (1, Phase.ACCUSE)

    world.cut = last_ok_missed
    world.run(lambda: all(state.following == 2 for state in world.states[1:]))
    assert (world.states[0].following, world.states[0].phase) == (1, Phase.ACCUSE)
    return world.states[0]


@cache
def behind() -> World:
    world = world_with(5, NOBODY)
    left_behind(world)
    return world


def certificate_of_step_1(world: World) -> Chain:
    found = world.states[1].certificate
    assert found is not None
    return Chain(0, *found, ())


def asking(world: World, peer: int) -> State:
    """Return a peer's state once it is halted where it stands."""
    state = world.states[peer]
    watch = ("watch", state.epoch, state.at.number, int(state.phase))
    return handle(world.configs[peer], state, Fired(watch))[0]


@pytest.mark.refuses("AGR-20", "AGR-22")
@pytest.mark.parametrize("fault", ["too few", "another's signature", "a claim's place", "of another view"])
def test_a_made_up_certificate_moves_nobody(fault: str) -> None:
    world = behind()
    chain = certificate_of_step_1(world)
    assert isinstance(chain.object, Certificate)
    oks = chain.object.envelopes
    if fault == "too few":
        made_up = oks[:-1]
    elif fault == "another's signature":
        made_up = (*oks[:-1], evolve(oks[-1], signature=oks[0].signature))
    elif fault == "a claim's place":
        made_up = (*oks[:-1], oks[0])
    else:
        chain = evolve(chain, klass=CommitClass(1, bytes(32)))
        made_up = oks
    state = asking(world, 0)
    after, effects = handle(world.configs[0], state, Received(3, evolve(chain, object=Certificate(made_up))))
    assert judgement(effects).verdict is fx.Verdict.REJECT
    assert after == state
    after, effects = handle(world.configs[0], state, Received(3, certificate_of_step_1(world)))
    assert judgement(effects).verdict is fx.Verdict.ACCEPT
    assert after.following == 2


def late_evidence(world: World, subject: int, *authors: int) -> Chain:
    """Return what removes a member: others say that its ACCUSE of step 1 is late."""
    late = Late(1, int(Phase.ACCUSE), subject, -1)
    said = tuple(forge(world.configs[author], 0, late) for author in authors)
    return Chain(0, GuiltyClass("guilty", subject), Evidence(EvidenceKind.LATE, subject, said), ())


@pytest.mark.shows("AGR-17")
@pytest.mark.parametrize("frozen", [False, True])
def test_a_certificate_that_came_before_the_halt_counts(frozen: bool) -> None:
    """Found by the search: it was kept and never used, and every answer after it was "known"."""
    world = behind()
    klass, certificate = certificate_of_step_1(world).klass, certificate_of_step_1(world).object
    signed = ((2, world.configs[2].sign(class_content(world.configs[2].run, 0, klass))),)
    came = [Received(2, Chain(0, klass, certificate, signed))]
    if frozen:
        came.insert(0, Received(2, late_evidence(world, 4, 1, 2, 3)))
    state, _ = happen(world, 0, world.states[0], *came)
    assert (state.following, state.phase) == (1, Phase.SETTLE if frozen else Phase.ACCUSE)
    state, _ = happen(world, 0, state, Received(1, late_evidence(world, 0, 1, 2, 3)))
    assert (state.following, state.phase) == (2, Phase.HALTED)


@pytest.mark.shows("OPS-13")
def test_what_convicts_a_former_member_is_no_fault_of_who_shows_it() -> None:
    """It is for the ledger: the agreement has nothing to say of who is no member any more."""
    world = World(configs(4, parameters(4, 3)), 1, tamper={3: silent(Commit, 1)})
    world.run(lambda: all(state.epoch == 1 for state in world.states[:3]))
    chain = evolve(late_evidence(world, 3, 0, 1, 2), epoch=1)
    _, effects = happen(world, 0, world.states[0], Received(1, chain))
    assert [effect.verdict for effect in effects if isinstance(effect, fx.Judgement)] == [fx.Verdict.IGNORE]


# -- records --------------------------------------------------------------------------------------------


def records(world: World, record: Epoch | Stay, *authors: int) -> list[Received]:
    return [Received(author, forge(world.configs[author], 0, record)) for author in authors]


def outcome(world: World, *out: int) -> Epoch:
    """Return the record that goes on from where peer 1 stands, without some."""
    state = world.states[1]
    return Epoch(state.following, state.view, (), tuple(p for p in state.roster if p not in out))


@pytest.mark.refuses("AGR-22")
def test_a_record_is_no_step_without_its_certificate() -> None:
    """A majority goes on after step 1, which peer 0 has not certified: it asks, and enters once it has."""
    world = behind()
    state, effects = happen(world, 0, world.states[0], *records(world, outcome(world, 4), 1, 2, 3))
    assert (state.epoch, state.following) == (0, 1)
    asked = [frame for frame in frames(effects, 2) if isinstance(frame, Poll)]
    assert asked == [Poll(0, 1, int(Phase.ACCUSE))]  # once
    state, effects = happen(world, 0, state, Received(2, certificate_of_step_1(world)))
    assert (state.epoch, state.following, state.roster) == (1, 2, (0, 1, 2, 3))


@pytest.mark.refuses("AGR-22")
@pytest.mark.parametrize("step", [0, 3, 10**6])
def test_who_would_have_to_go_far_stops(step: int) -> None:
    world = behind()
    elsewhere = evolve(outcome(world, 4), next_step=step)
    state, effects = happen(world, 0, world.states[0], *records(world, elsewhere, 1, 2, 3))
    assert (state.epoch, state.phase) == (0, Phase.STOPPED)
    assert "two histories" in next(e.reason for e in effects if isinstance(e, fx.Stopped))


@pytest.mark.refuses("AGR-15", "AGR-23")
@pytest.mark.parametrize("out", [(), (4,)])
def test_too_few_signatures_on_a_record_move_nobody(out: tuple[int, ...]) -> None:
    """A quorum of those left in suffices where somebody is out; where nobody is, nothing short of all."""
    world = lasting_outage()
    state = world.states[0]
    left = tuple(p for p in state.roster if p not in out)
    record = Epoch(state.following, state.view, (), left) if out else Stay(1, state.view, left, True)
    few = records(world, record, *((1, 2, 4) if out else (1, 2, 3, 4)))
    after, effects = happen(world, 0, state, *few)
    assert (after.epoch, after.phase) == (0, Phase.HALTED)
    assert not [e for e in effects if isinstance(e, fx.Persist)]  # nor does it sign along, unasked
    own, _ = happen(world, 0, state, *records(world, record, 1, 2, 3))
    assert own.epoch == (1 if out else 0)


@pytest.mark.refuses("AGR-15")
def test_a_signature_of_another_member_counts_for_nothing() -> None:
    world = lasting_outage()
    first, second = records(world, outcome(world, 4), 1, 2)
    assert isinstance(first.frame, Envelope)
    unsigned = Received(3, sign(world.configs[1], 3, first.frame.payload))
    after, effects = happen(world, 0, world.states[0], first, second, unsigned)
    assert [e.verdict for e in effects if isinstance(e, fx.Judgement)][-1] is fx.Verdict.REJECT
    assert (after.epoch, after.phase) == (0, Phase.HALTED)


# -- STAY ------------------------------------------------------------------------------------------------


def same_roster(peer: int, world: World) -> list[Epoch | Stay]:
    """Return the records of an epoch's end that leave everybody in, which a peer signed."""
    return [record for record in endings_signed(world, peer) if record.roster == world.states[peer].rosters[0]]


@pytest.mark.refuses("AGR-23")
def test_a_record_that_leaves_all_in_is_signed_by_nobody_who_is_not_halted() -> None:
    """Whether a cheat signs it alone, or says besides that it is halted."""

    def sign_at_once(world: World, peer: int, effect: fx.Effect) -> Iterable[fx.Effect]:
        state = world.states[peer]
        yield effect
        if isinstance(effect, fx.Entered) and effect.phase is Phase.REDUCE:
            record = Stay(state.following, state.view, state.roster, True)
            yield fx.Send((0, 1, 2), Poll(state.epoch, state.following, int(Phase.HALTED)))
            yield fx.Send((0, 1, 2), forge(world.configs[peer], state.epoch, record))

    world = world_with(4, NOBODY, tamper={3: sign_at_once})
    world.run(lambda: world.over(range(3)))
    assert not any(same_roster(peer, world) for peer in range(3))
    assert not world.of(fx.Halted)
    one_history(world, range(3))


@pytest.mark.refuses("AGR-19", "AGR-23")
@pytest.mark.parametrize("silent_too", [False, True])
def test_as_long_as_one_refuses_to_stay_all_wait(silent_too: bool) -> None:
    """It may say that it is halted, or nothing at all: nobody is out, and nobody goes on."""

    def refuse(world: World, peer: int, effect: fx.Effect) -> Iterable[fx.Effect]:
        frame = effect.frame if isinstance(effect, fx.Send) else None
        return () if silent_too and isinstance(frame, Poll) else silent(Stay, 0)(world, peer, effect)

    world = outage(tamper={3: refuse})
    wait(world, 30_000)
    assert halted(world, range(3))
    assert {(state.epoch, state.roster) for state in world.states[:3]} == {(0, (0, 1, 2, 3))}
    assert not world.of(fx.Stopped)
    world.tamper = {}
    world.run(lambda: world.over(range(3)))
    assert {state.rosters[:2] for state in world.states[:3]} == {((0, 1, 2, 3), (0, 1, 2, 3))}
    one_history(world, range(3))


@pytest.mark.refuses("AGR-15", "AGR-23")
@settings(max_examples=2)
@given(seed=st.integers(0, 2**32), fooled=st.sampled_from([(0,), (0, 1)]))
def test_who_signs_two_records_separates_nobody(seed: int, fooled: tuple[int, ...]) -> None:
    """All go on with what all signed, or all wait: who saw another record of the cheat first never signs."""

    def without_the_first(body: Body) -> Body:
        return evolve(body, roster=body.roster[1:]) if isinstance(body, Stay) else body

    world = outage(5, seed, {4: changed(Stay, 0, without_the_first, fooled)})
    honest = range(4)
    world.run(lambda: world.over(honest) or (world.now > 30_000 and halted(world, honest)))
    one_history(world, honest)
    if world.over(honest):
        assert all(state.rosters[1] == tuple(range(5)) for state in world.states[:4])
    found = {tuple(expelled(world, peer)) for peer in honest}
    assert found in ({()}, {((4, "MSG-5", "ban"),)})  # nothing, if all went on before both were in one place


@pytest.mark.refuses("AGR-15", "AGR-23")
def test_two_records_of_one_member_are_a_fault_that_the_next_epoch_settles() -> None:
    world = lasting_outage()
    both = [*records(world, outcome(world, 4), 1, 2), *records(world, outcome(world, 1), 2)]
    state, _ = happen(world, 0, world.states[0], *both, *records(world, outcome(world, 4), 3))
    assert (state.epoch, state.roster, state.phase) == (1, (0, 1, 2, 3), Phase.SETTLE)
    assert state.settle is not None
    assert set(state.settle.accepted) == {GuiltyClass("guilty", 2), GuiltyClass("ban", 2)}


# -- an epoch that others ended -------------------------------------------------------------------------


@pytest.mark.refuses("AGR-21")
def test_who_is_told_how_an_epoch_ended_and_stays_silent_is_out() -> None:
    """It is told once by each, and has no more time than others."""

    def silent_in_epoch_1(world: World, peer: int, effect: fx.Effect) -> Iterable[fx.Effect]:
        return silent(Commit, 0)(world, peer, effect) if world.states[peer].epoch else (effect,)

    world = world_with(6, NOBODY, tamper={5: silent(Commit, 1), 4: silent_in_epoch_1})
    world.run(lambda: world.over(range(4)))
    one_history(world, range(4))
    assert expelled(world) == [(5, "STP-3", "remove"), (4, "STP-3", "remove")]
    for peer in range(4):
        told = [frame for frame in sent(world, peer, 4) if _is_against(frame, 5)]
        assert len(told) == 1


def _is_against(frame: object, peer: int) -> bool:
    """Whether this tells why a peer was removed, from before: with no signatures, since it needs none."""
    return isinstance(frame, Chain) and frame.klass == GuiltyClass("guilty", peer) and not frame.signatures


@pytest.mark.shows("AGR-15", "AGR-20", "AGR-21")
@settings(max_examples=4)
@given(seed=st.integers(0, 2**32), missed=st.sampled_from([Phase.SETTLE, Phase.RATIFY]))
def test_who_was_cut_off_while_another_was_removed_comes_back_in_time(seed: int, missed: Phase) -> None:
    """Peer 3 hears nothing while the others remove peer 4: it costs it nothing."""

    def away(now: int, one: int, other: int) -> bool:
        begun = any(state.phase >= missed or state.epoch for state in world.states[:3])
        return 3 in (one, other) and begun and not all(state.epoch for state in world.states[:3])

    world = world_with(5, NOBODY, seed, {4: silent(Commit, 1)}, f_max=2)
    world.cut = away
    world.run(lambda: world.over(range(4)))
    one_history(world, range(4))
    assert all(state.phase is Phase.DONE and state.roster == (0, 1, 2, 3) for state in world.states[:4])
    assert {tuple(expelled(world, peer)) for peer in range(4)} == {((4, "STP-3", "remove"),)}


@pytest.mark.shows("AGR-19", "AGR-20", "AGR-23")
@settings(max_examples=12)
@given(
    seed=st.integers(0, 2**32),
    hit=st.sampled_from([Phase.SETTLE, Phase.RATIFY]),
    side=st.sets(st.integers(0, 4), min_size=1, max_size=4),
    lasts=st.integers(1, 4000),
)
def test_after_a_partition_that_hits_the_agreement_all_go_on(
    seed: int, hit: Phase, side: set[int], lasts: int
) -> None:
    """Whoever is not done is out, and was told so if that was before the others had finished and left."""
    began: list[int] = []

    def cut(now: int, one: int, other: int) -> bool:
        if not began and any(state.phase is hit for state in world.states):
            began.append(now)
        return bool(began) and now < began[0] + lasts and (one in side) != (other in side)

    world = world_with(5, NOBODY, seed, {4: silent(Commit, 1)}, f_max=2)
    world.cut = cut
    honest = range(4)
    world.run(lambda: world.over(honest) or (world.now > 100_000 and halted_or_over(world, honest)))
    one_history(world, honest)
    done = {peer for peer in honest if world.states[peer].phase is Phase.DONE}
    assert done
    assert all(set(honest).intersection(world.states[peer].roster) == done for peer in done)
    for peer in set(honest) - done:
        if world.states[peer].phase is Phase.STOPPED:
            assert "without this peer: it is removed, not banned" in reasons(world, peer)[0]


@pytest.mark.shows("AGR-15", "AGR-19", "AGR-23")
def test_what_was_signed_before_an_outage_is_what_comes_of_it() -> None:
    """Three of four sign that the fourth is out, and hear no more: once the links are back, they go on so."""
    began: list[int] = []

    def cut(now: int, one: int, other: int) -> bool:
        if not began and all(state.phase is Phase.RATIFY for state in world.states[:3]):
            began.append(now)
        away = 3 in (one, other) and world.states[3].at.number > 0
        return now < began[0] + 10_000 if began else away or any(map(_ratifies, world.states))

    world = world_with(4, NOBODY)
    world.cut = cut
    world.run(lambda: world.over(range(4)) or world.now > 60_000)
    one_history(world, range(4))
    assert [state.roster for state in world.states[:3]] == [(0, 1, 2)] * 3
    assert not any(same_roster(peer, world) for peer in range(4))
    assert {peer for _, peer, effect in world.effects if isinstance(effect, fx.Halted)} == {0, 1, 2, 3}
    assert "without this peer" in reasons(world, 3)[0]


def _ratifies(state: State) -> bool:
    return state.phase is Phase.RATIFY


def halted_or_over(world: World, peers: Iterable[int]) -> bool:
    return all(world.states[peer].phase is Phase.HALTED or world.over([peer]) for peer in peers)


def ahead_alone(seed: int) -> World:
    """Peer 4 says its last ``ok`` of step 1 to peer 0 alone, which is cut off then until the others go on."""

    began: list[int] = []

    def to_peer_0(world: World, peer: int, effect: fx.Effect) -> Iterable[fx.Effect]:
        if own_body(effect, peer, Accuse):
            return to_some(Accuse, 1, [0])(world, peer, effect)
        return () if world.states[peer].following > 1 else (effect,)

    def away(now: int, one: int, other: int) -> bool:
        if not began and world.states[0].following > 1:
            began.append(now)  # its own ``ok`` is under way
        gone_on = all(state.epoch for state in world.states[1:4])
        return 0 in (one, other) and bool(began) and now > began[0] and not gone_on

    world = world_with(5, NOBODY, seed, {4: to_peer_0}, f_max=2)
    world.cut = away
    return world


@pytest.mark.shows("AGR-15", "AGR-22")
@settings(max_examples=4)
@given(seed=st.integers(0, 2**32))
def test_who_is_one_step_ahead_takes_it_back(seed: int) -> None:
    """The others do step 1 again without peer 4; peer 0 has its model from them then."""
    world = ahead_alone(seed)
    world.run(lambda: world.over(range(4)))
    one_history(world, range(4))
    assert all(state.phase is Phase.DONE and state.roster == (0, 1, 2, 3) for state in world.states[:4])
    certified = [e.step for e in world.of(fx.Certified, 0) if isinstance(e, fx.Certified)]
    assert certified == [0, 1, *range(1, world.states[0].following)]
    assert {e for peer in range(4) for e in world.of(fx.Drifted, peer)} == {fx.Drifted(1, (0,))}
    asked = [effect.request for effect in world.of(fx.Compute, 0) if isinstance(effect, fx.Compute)]
    assert [request.step for request in asked if isinstance(request, Load)] == [1]
