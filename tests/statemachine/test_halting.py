"""Partitions, outages and the brake: who cannot go on in time halts, asks, and comes back."""

from collections.abc import Callable, Iterable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from btard.statemachine import effects as fx
from btard.statemachine.events import Received, Resume
from btard.statemachine.messages import Chain, Envelope, Epoch, Evidence, EvidenceKind, GuiltyClass, Late, Stay
from btard.statemachine.table import Phase
from fuzz.byzantine import forge
from fuzz.world import Tamper, World, configs, parameters
from tests.statemachine.test_bans import expelled

Cut = Callable[[int, int, int], bool]
STEPS = 3


def between(start: int, end: int, *groups: Iterable[int]) -> Cut:
    """Cut all links between groups for a time; whoever is in no group is alone."""
    side = {peer: number for number, group in enumerate(groups) for peer in group}

    def cut(now: int, one: int, other: int) -> bool:
        return start <= now < end and side.get(one, -1 - one) != side.get(other, -1 - other)

    return cut


def world_with(
    peers: int, cut: Cut, seed: int = 1, tamper: dict[int, Tamper] | None = None, **changes: int
) -> World:
    steps = changes.pop("steps", STEPS)
    return World(configs(peers, parameters(peers, steps, **changes)), seed, cut=cut, tamper=tamper or {})


def one_history(world: World, peers: Iterable[int]) -> None:
    """Check that no two peers signed or entered different things, and that the certified steps are the same."""
    records: dict[tuple[int, int], set[bytes]] = {}
    for effect in world.of(fx.Persist):
        message = effect.envelope.message if isinstance(effect, fx.Persist) else None
        if message is not None:
            records.setdefault((message.author, hash(message.slot)), set()).add(effect.envelope.hash)  # type: ignore[union-attr]
    assert all(len(hashes) == 1 for hashes in records.values())
    states = [world.states[peer] for peer in peers]
    longest = max((state.rosters for state in states), key=len)
    assert all(state.rosters == longest[: len(state.rosters)] for state in states)
    finished = [state for state in states if state.phase is Phase.DONE]
    assert len({state.model_digest for state in finished}) <= 1


def reasons(world: World, peer: int) -> list[str]:
    return [effect.reason for effect in world.of(fx.Stopped, peer) if isinstance(effect, fx.Stopped)]


def halts(world: World) -> dict[int, str]:
    """Return why each peer halted last."""
    return {who: effect.reason for _, who, effect in world.effects if isinstance(effect, fx.Halted)}


def finish(world: World, peers: Iterable[int]) -> None:
    peers = list(peers)
    world.run(lambda: world.over(peers))
    one_history(world, peers)


@pytest.mark.shows("AGR-19", "AGR-23")
@settings(max_examples=3)
@given(seed=st.integers(0, 2**32), start=st.integers(0, 2000), peers=st.sampled_from([4, 5, 8]))
def test_after_a_total_outage_everybody_goes_on(seed: int, start: int, peers: int) -> None:
    world = world_with(peers, between(start, start + 15_000), seed)
    finish(world, range(peers))
    for state in world.states:
        assert state.phase is Phase.DONE
        assert state.roster == tuple(range(peers))


@pytest.mark.shows("AGR-19", "AGR-23")
@settings(max_examples=3)
@given(seed=st.integers(0, 2**32), start=st.integers(0, 2000))
def test_two_halves_wait_for_each_other(seed: int, start: int) -> None:
    world = world_with(8, between(start, start + 15_000, range(4), range(4, 8)), seed)
    finish(world, range(8))
    assert world.states[0].roster == tuple(range(8))
    assert not world.of(fx.Expelled)


@pytest.mark.shows("AGR-15", "AGR-20", "OPS-11")
@settings(max_examples=3)
@given(seed=st.integers(0, 2**32), start=st.integers(0, 2000))
def test_a_majority_goes_on_and_the_others_are_told(seed: int, start: int) -> None:
    world = world_with(8, between(start, start + 4_000, range(5), range(5, 8)), seed, steps=12)
    finish(world, range(8))
    for peer in range(5):
        assert world.states[peer].phase is Phase.DONE
        assert world.states[peer].roster == tuple(range(5))
    for peer in (5, 6, 7):
        assert len(reasons(world, peer)) == 1
        assert "without this peer: it is removed, not banned" in reasons(world, peer)[0]
        assert "STP-3" in reasons(world, peer)[0]
        told = [(out[0], out[2]) for out in expelled(world, peer)]
        (left,) = [effect for effect in world.of(fx.LeftOut, peer) if isinstance(effect, fx.LeftOut)]
        assert (peer, "remove") in told
        # Why another is out may not be here; that it is, the records say.
        assert set(told) <= {(out, "remove") for out in range(8) if out not in left.roster}
        assert {env.message.body.roster for env in left.signed if env.message} == {left.roster}  # type: ignore[union-attr]


@pytest.mark.shows("AGR-24", "AGR-23")
@settings(max_examples=3)
@given(seed=st.integers(0, 2**32), start=st.integers(0, 2000))
def test_the_brake_keeps_everybody(seed: int, start: int) -> None:
    """Who alone was missed where the links broke can be lost; never more than the brake allows."""
    world = world_with(8, between(start, start + 15_000, range(5), range(5, 8)), seed, late_brake=1)
    finish(world, range(8))
    roster = world.states[0].roster
    assert set(range(5)) <= set(roster)
    assert len(roster) >= 7
    assert all(world.states[peer].phase is Phase.DONE for peer in roster)


@pytest.mark.shows("AGR-24")
@pytest.mark.refuses("AGR-24")
@pytest.mark.parametrize("seed", range(3))
def test_the_brake_counts_whom_lateness_removed_since_a_step(seed: int) -> None:
    """As three of eight are cut off, one's COMMIT still gets through: two are missed, and then the third."""
    few, began = {5, 6, 7}, list[int]()

    def cut(now: int, one: int, other: int) -> bool:
        heard = (6 in state.at.delivered and state.at.number == 1 for state in world.states[:5])
        if not began and all(heard):
            began.append(now)
        if began:
            return now < began[0] + 20_000 and (one in few) != (other in few)
        return one in (5, 7) and other not in few and world.states[one].at.number > 0

    world = world_with(8, between(0, 0), seed, late_brake=2)
    world.cut = cut
    world.run(lambda: bool(began) and world.now >= began[0] + 19_000)
    (left,) = {world.states[peer].roster for peer in range(5)}
    assert {0, 1, 2, 3, 4, 6} <= set(left) < set(range(8))
    assert all("removed since a step was last certified" in halts(world)[peer] for peer in range(5))
    finish(world, range(8))
    assert {world.states[peer].roster for peer in left} == {left}
    assert all(world.states[peer].phase is Phase.DONE for peer in left)


@pytest.mark.refuses("AGR-24")
@pytest.mark.shows("AGR-26")
@pytest.mark.parametrize("seed", range(2))
def test_a_braked_majority_goes_on_when_its_operators_say_so(seed: int) -> None:
    world = world_with(8, between(500, 10**9, range(5), range(5, 8)), seed, late_brake=1)
    world.run(lambda: all(world.states[peer].halted is not None for peer in range(8)))
    braked = {peer for peer, state in enumerate(world.states) if state.halted and state.halted.held}
    assert braked == set(range(5))
    assert all("btard resume" in halts(world)[peer] for peer in braked)
    for peer in range(8):
        world.schedule(peer * 1000, peer, Resume((5, 6, 7)))
    finish(world, range(5))
    assert [world.states[peer].roster for peer in range(5)] == [tuple(range(5))] * 5
    assert set(expelled(world)) <= {(peer, "STP-3", "remove") for peer in (5, 6, 7)}


@pytest.mark.shows("AGR-26")
@settings(max_examples=6)
@given(
    seed=st.integers(0, 2**32),
    start=st.integers(0, 2000),
    peers=st.sampled_from([4, 5, 8]),
    words=st.lists(st.integers(0, 30_000), min_size=8, max_size=8),
)
@example(seed=187275, start=287, peers=8, words=[334, 152, 139, 66, 9563, 0, 0, 0])
def test_after_an_outage_operators_give_up_who_never_comes_back(
    seed: int, start: int, peers: int, words: list[int]
) -> None:
    """Links break for all at once, and one machine does not survive that; each operator says so some time.

    In the example two peers signed STAY before they heard of the certificate that another one holds.
    """
    dead = peers - 1

    def cut(now: int, one: int, other: int) -> bool:
        return start <= now < start + 15_000 or (now >= start and dead in (one, other))

    world = world_with(peers, cut, seed)
    world.run(lambda: world.now > start + 15_000 and all(state.halted for state in world.states))
    for peer in range(dead):
        world.schedule(words[peer], peer, Resume((dead,)))
    finish(world, range(dead))
    assert {world.states[peer].roster for peer in range(dead)} == {tuple(range(dead))}
    assert not any(state.banned for state in world.states)


@pytest.mark.shows("AGR-26", "AGR-16")
def test_neither_a_planted_record_nor_old_lateness_keeps_the_others_from_it() -> None:
    """Who is given up has signed a record of its own; LATEs of the outage come round while all are halted."""

    def cut(now: int, one: int, other: int) -> bool:
        return 500 <= now < 15_500 or (now >= 500 and 4 in (one, other))

    world = world_with(5, cut, f_max=1)
    world.run(lambda: world.now > 15_500 and all(state.halted for state in world.states))
    planted = forge(world.configs[4], 0, Epoch(world.states[0].following, bytes(32), (), (0, 1, 4)))
    late = Late(world.states[0].at.number, int(Phase.COMMIT), 3, -1)
    said = tuple(forge(world.configs[author], 0, late) for author in (0, 1, 4))
    chain = Chain(0, GuiltyClass("guilty", 3), Evidence(EvidenceKind.LATE, 3, said), ())
    for peer in range(4):
        world.schedule(0, peer, Received(4, planted))
        if peer != 3:
            world.schedule(1, peer, Received(4, chain))
        world.schedule(2 + peer, peer, Resume((4,)))
    finish(world, range(4))
    assert [world.states[peer].rosters for peer in range(4)] == [((0, 1, 2, 3, 4), (0, 1, 2, 3))] * 4


@pytest.mark.refuses("AGR-26")
@pytest.mark.parametrize(
    ("words", "why"),
    [
        ({0: (4,), 1: (4,)}, "no majority said so"),
        ({0: (3, 4), 1: (3, 4), 2: (3, 4)}, "too few would be left"),
        ({0: (4,), 1: (4,), 2: (3,), 3: (2,)}, "they do not say the same"),
        ({0: (0, 4), 1: (1,), 2: (2,), 3: ()}, "all but one give up nobody but themselves"),
    ],
)
def test_what_too_few_operators_say_moves_nobody(words: dict[int, tuple[int, ...]], why: str) -> None:
    def cut(now: int, one: int, other: int) -> bool:
        return 500 <= now < 15_500 or (now >= 500 and 4 in (one, other))

    world = world_with(5, cut, f_max=1)
    world.run(lambda: world.now > 15_500 and all(state.halted for state in world.states))
    for peer, without in words.items():
        world.schedule(0, peer, Resume(without))
    until = world.now + 60_000
    world.run(lambda: world.now > until)
    one_history(world, range(5))
    assert {state.phase for state in world.states} == {Phase.HALTED}
    assert {state.epoch for state in world.states} == {0}


@pytest.mark.shows("AGR-21", "AGR-22")
@settings(max_examples=15)
@given(
    seed=st.integers(0, 2**32),
    peers=st.sampled_from([4, 5, 6]),
    start=st.integers(0, 3000),
    lasts=st.integers(0, 900),
)
def test_short_cuts_cost_nobody_a_second_message(seed: int, peers: int, start: int, lasts: int) -> None:
    """Whatever they cost, there is one history, and whoever is in it finishes."""
    world = world_with(peers, between(start, start + lasts, range(1, peers)), seed)
    finish(world, range(peers))
    done = [state for state in world.states if state.phase is Phase.DONE]
    assert len(done) >= peers - 1


def endings_signed(world: World, peer: int) -> list[Epoch | Stay]:
    """Return the records of an epoch's end that a peer signed, in their order."""
    found = []
    for effect in world.of(fx.Persist, peer):
        envelope = effect.envelope if isinstance(effect, fx.Persist) else None
        message = envelope.message if isinstance(envelope, Envelope) else None
        if message is not None and isinstance(message.body, Epoch | Stay):
            found.append(message.body)
    return found
