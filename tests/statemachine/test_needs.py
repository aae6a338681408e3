"""Parts and aggregates that fail to come: only who withholds them can lose its place."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from btard.statemachine import compute as cp
from btard.statemachine import effects as fx
from btard.statemachine.checks import bulk_of_part
from btard.statemachine.config import faults, quorum
from btard.statemachine.events import Fired, Held, Received
from btard.statemachine.messages import Body, Commit, Envelope, Late, Need, Publish
from btard.statemachine.state import State
from btard.statemachine.table import Phase
from btard.statemachine.turn import Turn
from fuzz import byzantine as byz
from fuzz.world import Oracle, World, configs, parameters
from tests.statemachine.stage import Watched, bodies, expelled, finish, judgement, tried
from tests.statemachine.test_found_bulk import Growing, chained

SIZES = (4, 5, 8)
seeds = st.integers(0, 2**32)
delays = st.sampled_from([0, 1, 100, 200, 300, 400, 800, 1300])


class Extreme(Watched):
    """Every message, object and computation is as fast or as slow as the times allow."""

    def latency(self) -> int:
        return self._random.choice((1, 88))  # and 12 of the 100 are what a pull waits

    def duration(self, peer: int, request: cp.Request) -> int:
        return self._random.choice((1, 100))

    def _transfer(self, asker: int, name: bytes) -> None:
        self.held.add((asker, name))
        self.schedule(self._random.choice((1, 112)), asker, Held(name, self.sizes[name]))


def run_of(peers: int, seed: int, **changes: object) -> tuple[Watched, range, range]:
    """Return a world before its first event, its honest peers, and its liars: as many as it may bear."""
    params = parameters(peers, 2, **{"validators": 0, "f_max": faults(peers), **changes})
    world = Extreme(configs(peers, params), seed)
    world.seen = []
    return world, range(peers - faults(peers)), range(peers - faults(peers), peers)


def removed(world: World) -> set[tuple[int, str]]:
    """Return who is out in the eyes of peer 0, and how."""
    return {(peer, kind) for peer, _, kind in expelled(world)}


def lates(world: World, peer: int) -> list[Late]:
    """Return the LATEs that the core of ``peer`` signed."""
    return [body for body in bodies(world, Late, peer) if isinstance(body, Late)]


def peers_of(honest: Iterable[int]) -> st.SearchStrategy[set[int]]:
    return st.sets(st.sampled_from(list(honest)))


# -- whole runs -----------------------------------------------------------------------------------------


@pytest.mark.shows("STP-16", "STP-17", "STP-18", "STP-19", "TIM-3", "TIM-4", "AGR-8")
@settings(max_examples=5)
@given(seed=seeds, data=st.data())
@pytest.mark.parametrize("peers", SIZES)
def test_who_withholds_parts_removes_nobody_but_itself(peers: int, seed: int, data: st.DataObject) -> None:
    """Whomever the liars give nothing, and to whomever they publish: all honest peers finish, none is out."""
    world, honest, liars = run_of(peers, seed)
    byz.withhold_parts(world, liars, data.draw(peers_of(honest).filter(bool)), data.draw(peers_of(honest)))
    finish(world)
    assert removed(world) <= {(liar, "remove") for liar in liars}
    assert any(bodies(world, Need, peer) for peer in honest)
    assert not {late.subject for peer in honest for late in lates(world, peer)} & set(honest)


@pytest.mark.refuses("STP-6", "STP-18", "STP-19", "AGR-7")
@pytest.mark.parametrize("peers", SIZES)
@pytest.mark.parametrize("from_all", [False, True])
def test_who_publishes_nothing_is_removed(peers: int, from_all: bool) -> None:
    world, honest, liars = run_of(peers, peers)
    byz.withhold_parts(world, liars, honest if from_all else honest[:1], ())
    finish(world)
    assert removed(world) == {(liar, "remove") for liar in liars}


@pytest.mark.shows("STP-19", "AGR-8", "TIM-4")
@pytest.mark.refuses("STP-18")
@pytest.mark.parametrize("peers", SIZES)
@pytest.mark.parametrize("enough", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_a_part_published_to_some_reaches_its_aggregator(peers: int, enough: bool, seed: int) -> None:
    """It comes from those who have it; where those who have said LATE by then are a quorum, that counts."""
    world, _, liars = run_of(peers, seed)
    untold = range(quorum(peers) - enough)  # and the aggregator is one of them
    byz.withhold_parts(world, liars[:1], [0], {*range(peers)} - {*untold}, step=2)
    finish(world)
    assert removed(world) == (set() if enough else {(liars[0], "remove")})
    part = world.first(0, Phase.REDUCE, 2).at.aggregators.index(0)
    for peer in untold:
        assert bodies(world, Late, peer) == [Late(2, int(Phase.REDUCE), liars[0], part)]


@pytest.mark.shows("AGR-8", "STP-7")
@settings(max_examples=4)
@given(seed=seeds, data=st.data())
@pytest.mark.parametrize("peers", SIZES)
def test_an_aggregate_served_to_some_comes_from_them(peers: int, seed: int, data: st.DataObject) -> None:
    world, honest, liars = run_of(peers, seed)
    told = data.draw(peers_of(honest))
    byz.withhold_aggregates(world, liars, told)
    finish(world)
    assert removed(world) <= {(liar, "remove") for liar in liars}
    if not told:
        assert removed(world) == {(liar, "remove") for liar in liars}


@pytest.mark.shows("AGR-8")
def test_an_aggregate_served_to_one_reaches_all() -> None:
    world, _, liars = run_of(5, 1)
    byz.withhold_aggregates(world, liars[:1], [0], step=2)
    finish(world)
    assert not removed(world)
    lacking = [late for peer in (1, 2) for late in lates(world, peer)]
    assert {(late.late_phase, late.subject) for late in lacking} <= {(int(Phase.REDUCE), liars[0])}


def first_honest(world: World, peer: int) -> tuple[int, ...]:
    """Name as many honest peers as the form allows."""
    roster = world.states[peer].roster
    return tuple(one for one in roster if one not in world.tamper)[: faults(len(roster))]


@pytest.mark.shows("STP-17", "STP-18", "STP-19", "TIM-3")
@pytest.mark.refuses("STP-16")
@settings(max_examples=5)
@given(seed=seeds, data=st.data())
@pytest.mark.parametrize("peers", SIZES)
def test_a_false_need_harms_nobody(peers: int, seed: int, data: st.DataObject) -> None:
    """Whoever hears of it, and whenever, before REDUCE, at its last moment or after: nobody is late for it."""
    world, honest, liars = run_of(peers, seed)
    for liar in liars:
        told = data.draw(peers_of(honest))
        world.tamper[liar] = byz.needing(first_honest, told, data.draw(delays))
    finish(world)
    assert not removed(world)
    assert not [late for peer in honest for late in lates(world, peer)]


@pytest.mark.shows("STP-18", "VER-9", "MSG-5")
@settings(max_examples=5)
@given(seed=seeds, data=st.data())
@pytest.mark.parametrize("peers", SIZES)
def test_parts_that_are_needed_and_then_disputed_are_published_once(
    peers: int, seed: int, data: st.DataObject
) -> None:
    world, honest, liars = run_of(peers, seed)
    world.oracle = Growing()
    for liar in liars:
        world.tamper[liar] = byz.needing(first_honest, data.draw(peers_of(honest)), data.draw(delays))
    finish(world)
    assert not removed(world)
    for peer in honest:
        published = bodies(world, Publish, peer)
        assert len(set(published)) == len(published)
    assert any(state.at.disputed for state in world.states_of(0))


@pytest.mark.refuses("MSG-5", "STP-16")
@pytest.mark.parametrize("peers", SIZES)
def test_who_needs_different_parts_before_different_peers_is_banned(peers: int) -> None:
    world, honest, liars = run_of(peers, peers)
    for liar in liars:
        one = byz.needing(lambda world, peer: first_honest(world, peer)[:1], honest[::2])
        other = byz.needing(last_honest, honest[1::2])
        world.tamper[liar] = chained(one, other)
    finish(world)
    assert removed(world) == {(liar, "ban") for liar in liars}


def last_honest(world: World, peer: int) -> tuple[int, ...]:
    """Name another than `first_honest` does first."""
    return (max(one for one in world.states[peer].roster if one not in world.tamper),)


@pytest.mark.shows("STP-16", "STP-17", "STP-18", "STP-19", "TIM-3", "TIM-4", "AGR-8")
@settings(max_examples=5)
@given(seed=seeds, data=st.data())
@pytest.mark.parametrize("peers", SIZES)
def test_all_of_it_at_once_harms_nobody_honest(peers: int, seed: int, data: st.DataObject) -> None:
    world, honest, liars = run_of(peers, seed)
    world.oracle = data.draw(st.sampled_from([Oracle(), Growing()]))
    byz.withhold_aggregates(world, liars, data.draw(peers_of(honest)), data.draw(st.sampled_from([1, 2])))
    byz.withhold_parts(world, liars, data.draw(peers_of(honest)), data.draw(peers_of(honest)))
    for liar in liars:
        false = byz.needing(first_honest, data.draw(peers_of(honest)), data.draw(delays))
        world.tamper[liar] = chained(world.tamper[liar], false)
    finish(world)
    assert removed(world) <= {(liar, "remove") for liar in liars}
    assert not {late.subject for peer in honest for late in lates(world, peer)} & set(honest)


@pytest.mark.shows("AGR-8", "VER-9")
def test_a_part_that_came_too_late_in_reduce_comes_again_in_accuse() -> None:
    """Peer 1 is given nothing; what the others forward in REDUCE finds it in the next phase already."""
    world, honest, liars = run_of(4, 0)
    world.oracle = Growing()
    byz.withhold_aggregates(world, liars, [0, 1])
    byz.withhold_parts(world, liars, honest, [0, 2])
    finish(world)
    asked = {late.late_phase for late in lates(world, 1) if late.step == 2 and late.part == 0}
    assert asked == {int(Phase.REDUCE), int(Phase.ACCUSE)}
    assert not removed(world)


# -- one message at a time ------------------------------------------------------------------------------


def before(world: Watched, phase: Phase, peer: int = 0, step: int = 1) -> State:
    """Return the state in which ``peer`` enters a phase of a step."""
    world.run(lambda: (world.states[peer].phase, world.states[peer].at.number) == (phase, step))
    return world.states[peer]


def sent(effects: Iterable[fx.Effect], kind: type[Body]) -> list[tuple[tuple[int, ...], Body]]:
    """Return who is sent which messages of a kind."""
    frames = [(e.to, e.frame) for e in effects if isinstance(e, fx.Send) and isinstance(e.frame, Envelope)]
    return [(to, f.message.body) for to, f in frames if f.message and isinstance(f.message.body, kind)]


def fetched(effects: Iterable[fx.Effect]) -> set[tuple[int, bytes]]:
    return {(effect.source, effect.digest) for effect in effects if isinstance(effect, fx.Fetch)}


def offered(effects: Iterable[fx.Effect]) -> set[bytes]:
    return {effect.digest for effect in effects if isinstance(effect, fx.Offer) and effect.to is None}


def timers(effects: Iterable[fx.Effect]) -> list[tuple[fx.Timer, int]]:
    return [(effect.timer, effect.delay) for effect in effects if isinstance(effect, fx.SetTimer)]


def need(world: World, author: int, *subjects: int, step: int = 1) -> Received:
    return Received(author, byz.forge(world.configs[author], 0, Need(step, subjects)))


def part_of(state: State, owner: int, aggregator: int) -> bytes:
    """Return the digest of a part that ``owner`` committed to in the step."""
    said = state.slots["phase", 0, state.at.number, 0, owner].message
    assert said is not None
    assert isinstance(said.body, Commit)
    return said.body.parts[state.at.aggregators.index(aggregator)]


@pytest.mark.shows("STP-17", "STP-18")
@pytest.mark.refuses("STP-17", "MSG-8")
def test_a_need_is_passed_on_and_timed_from_when_it_counts() -> None:
    world, _, _ = run_of(5, 1)
    commit = before(world, Phase.COMMIT)
    early = need(world, 1, 0, 2)
    kept, effects = tried(world, 0, early, commit)
    assert judgement(effects).verdict is fx.Verdict.DEFER
    assert len(effects) == 1, "in COMMIT nothing comes of it"
    reduce = before(world, Phase.REDUCE)
    part = reduce.at.aggregators.index(1)
    _, effects = tried(world, 0, early, reduce)
    assert sent(effects, Need) == [((2, 3, 4), Need(1, (0, 2)))]
    assert timers(effects) == [(("need", 0, 1, 1), world.configs[0].timing.t_publish)]
    assert sent(effects, Publish) == [((1, 2, 3, 4), Publish(1, part))]
    assert offered(effects) == {part_of(reduce, 0, 1)}
    _, again = tried(world, 0, early, tried(world, 0, early, reduce)[0])
    assert [type(effect) for effect in again] == [fx.Judgement]
    # What was kept since COMMIT counts from entering REDUCE on.
    slot = ("need", 0, 1, 1)
    entering = next(place for place in zip(world.seen, world.seen[1:], strict=False) if place[0][0] == 0)
    assert slot not in entering[0][1].slots
    last = [(state, event) for who, state, event in world.seen if who == 0][-1]
    with_need = evolve(last[0], slots=last[0].slots.insert(slot, kept.slots[slot]))
    after, effects = tried(world, 0, last[1], with_need)
    assert after.phase is Phase.REDUCE
    assert sent(effects, Need) == [((2, 3, 4), Need(1, (0, 2)))]
    assert (("need", 0, 1, 1), world.configs[0].timing.t_publish) in timers(effects)
    assert sent(effects, Publish) == [((1, 2, 3, 4), Publish(1, part))]


@pytest.mark.shows("STP-18")
@pytest.mark.refuses("STP-17")
@pytest.mark.parametrize("phase", [Phase.REVEAL, Phase.VALIDATE, Phase.ACCUSE])
def test_after_reduce_only_the_named_act_on_a_need(phase: Phase) -> None:
    world, _, _ = run_of(5, 1)
    state = before(world, phase)
    _, effects = tried(world, 0, need(world, 1, 0, 2), state)
    assert sent(effects, Publish) == [((1, 2, 3, 4), Publish(1, state.at.aggregators.index(1)))]
    assert not sent(effects, Need)
    assert not timers(effects)
    _, effects = tried(world, 0, need(world, 1, 2), state)
    assert [type(effect) for effect in effects] == [fx.Judgement]


@pytest.mark.refuses("STP-16", "STP-17", "MSG-3", "MSG-5", "AGR-4")
def test_needs_that_do_not_count() -> None:
    world, _, _ = run_of(5, 1, validators=1)
    state = before(world, Phase.REDUCE, step=2)
    (validator,) = {*range(5)} - {*state.at.contributors}
    other = next(peer for peer in (1, 2, 3, 4) if peer != validator)
    after, effects = tried(world, 0, need(world, other, validator, step=2), state)
    assert [type(effect) for effect in effects] == [fx.Judgement], "a validator has no parts"
    # Two different ones are evidence, wherever they come.
    author = next(peer for peer in (1, 2, 3, 4) if peer != other)
    for place in (state, tried(world, 0, need(world, author, 0, step=2), state)[0]):
        twice, effects = tried(world, 0, need(world, author, other, step=2), place)
        assert (twice.phase is Phase.SETTLE) == (place is not state)
    # Too many, oneself, strangers, nobody: form. Of a step far ahead or long past, or of no member: no effect.
    for wrong in ((0, 2, 3), (1,), (2, 0), ()):
        frozen, effects = tried(world, 0, need(world, 1, *wrong, step=2), state)
        assert judgement(effects) == fx.Judgement(fx.Verdict.REJECT, "malformed", "MSG-3")
        assert frozen.phase is Phase.SETTLE
    for step in (0, 1, 3, 4):
        after, effects = tried(world, 0, need(world, 1, 0, step=step), state)
        assert [type(effect) for effect in effects] == [fx.Judgement]
        assert after.slots.get(("need", 0, step, 1)) is None or step == 1
    gone = evolve(state, rosters=((0, 2, 3, 4),))
    _, effects = tried(world, 0, need(world, 1, 0, step=2), gone)
    assert judgement(effects).verdict is fx.Verdict.IGNORE


@pytest.mark.shows("STP-19")
@pytest.mark.refuses("STP-19", "STP-6")
def test_a_needed_part_is_fetched_and_served_on_and_its_lack_told() -> None:
    world, _, _ = run_of(5, 1)
    state = before(world, Phase.REDUCE)
    part, name = state.at.aggregators.index(1), part_of(state, 2, 1)
    published = Received(2, byz.forge(world.configs[2], 0, Publish(1, part)))
    unasked, effects = tried(world, 0, published, state)
    assert not fetched(effects), "nobody needs it"
    _, effects = tried(world, 0, need(world, 1, 2), unasked)
    assert (2, name) in fetched(effects), "it was published before the NEED came"
    needed, effects = tried(world, 0, need(world, 1, 2), state)
    assert not fetched(effects)
    fired = Fired(("need", 0, 1, 1))
    _, effects = tried(world, 0, fired, needed)
    assert sent(effects, Late) == [((1, 2, 3, 4), Late(1, int(Phase.REDUCE), 2, part))]
    heard, effects = tried(world, 0, published, needed)
    assert fetched(effects) == {(2, name)}
    assert sent(tried(world, 0, fired, heard)[1], Late), "the object is not here"
    size = bulk_of_part(Turn(world.configs[0], state), name, part).size
    held, effects = tried(world, 0, Held(name, size), heard)
    assert offered(effects) == {name}
    assert not sent(tried(world, 0, fired, held)[1], Late)
    _, effects = tried(world, 0, evolve(published, sender=3), heard)
    assert fetched(effects) == {(3, name)}, "another source"
    without, _ = tried(world, 0, Held(name, size), needed)
    assert sent(tried(world, 0, fired, without)[1], Late), "PUBLISH is not here"
    # Whoever said LATE gets the PUBLISH forwarded, also where it comes later.
    cry = Received(4, byz.forge(world.configs[4], 0, Late(1, int(Phase.REDUCE), 2, part)))
    assert sent(tried(world, 0, cry, held)[1], Publish) == [((4,), Publish(1, part))]
    waiting, _ = tried(world, 0, cry, needed)
    assert ((4,), Publish(1, part)) in sent(tried(world, 0, published, waiting)[1], Publish)
    # A LATE on a part that nobody needs, of another phase or step, counts nothing.
    for place, what in (
        (state, Late(1, 1, 2, part)),
        (needed, Late(1, 1, 3, part)),
        (needed, Late(1, 1, 2, (part + 1) % 5)),
        (before(world, Phase.REVEAL), Late(1, 1, 2, part)),
    ):
        _, effects = tried(world, 0, Received(4, byz.forge(world.configs[4], 0, what)), place)
        assert judgement(effects) == fx.Judgement(
            fx.Verdict.IGNORE, "no honest peer can miss that now", "AGR-7"
        )


@pytest.mark.shows("STP-16")
def test_of_more_than_f_missing_the_first_f_are_named() -> None:
    world, _, _ = run_of(5, 1)
    state = before(world, Phase.REDUCE)
    _, effects = tried(world, 0, Fired(("bulk", 0, 1)), state)
    own = [body for _, body in sent(effects, Need)]
    assert own == [Need(1, (1, 2))]
    assert (("need", 0, 1, 0), world.configs[0].timing.t_publish) in timers(effects)
