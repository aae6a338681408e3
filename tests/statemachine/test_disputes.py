"""Disputed parts: by sums that do not vanish, by alarms; and who is found out by them."""

import math
from collections.abc import Iterable, Sequence
from fractions import Fraction

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from btard.robust.encoding import pack_norms, pack_rows, unpack_norms
from btard.robust.tolerances import sum_threshold
from btard.statemachine import compute as cp
from btard.statemachine import effects as fx
from btard.statemachine.disputes import disputed_parts
from btard.statemachine.handle import initial
from btard.statemachine.messages import Body, Publish, Validate
from btard.statemachine.parameters import Parameters
from btard.statemachine.state import Alarm, State, Step
from fuzz import byzantine as byz
from fuzz.world import Oracle, configs, parameters
from tests.statemachine.stage import Checking, bodies, expelled, finish, world_of

PEERS = 6
HASH = bytes(32)
Rows = Sequence[Sequence[float]]
ZEROS = ((0.0,) * 16,) * 4


def state_of(step: int = 5, alarms: dict[int, Alarm] | None = None) -> State:
    """Return a state in which part j belongs to peer 5 - j and all aggregates have norm 1."""
    state = initial(configs(PEERS)[0])
    aggregators = tuple(reversed(range(PEERS)))
    at = Step(step, aggregators=aggregators, contributors=tuple(range(PEERS)), aggregate_norms=(1.0,) * PEERS)
    known = state.alarms
    for peer, alarm in (alarms or {}).items():
        known = known.insert(peer, alarm)
    return evolve(state, at=at, alarms=known)


def said(rows: Rows = ZEROS, norm: float = 1.0, part: int = 2) -> Validate:
    """Return a VALIDATE with these rows and this norm for one part, zeros and 1 for all others."""
    sketches = [pack_rows(rows if p == part else ZEROS) for p in range(PEERS)]
    return Validate(5, HASH, b"".join(sketches), pack_norms([norm if p == part else 1.0 for p in range(PEERS)]))


def one(entry: float, row: int = 1, bucket: int = 3) -> Rows:
    """Return rows that are zero but for one entry."""
    rows = [[0.0] * 16 for _ in range(4)]
    rows[row][bucket] = entry
    return rows


def disputed(
    scalars: Iterable[Validate], state: State | None = None, params: Parameters | None = None
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return disputed_parts(params or parameters(PEERS), state or state_of(), tuple(scalars))


# -- verification 2 -------------------------------------------------------------------------------------


@pytest.mark.shows("VER-7", "TOL-5")
@given(
    row=st.integers(0, 3),
    bucket=st.integers(0, 15),
    part=st.integers(0, PEERS - 1),
    factor=st.sampled_from([0.0, 0.5, 1 - 1e-12, 1 + 1e-12, 2.0, 1e6]),
    sign=st.sampled_from([1, -1]),
)
def test_a_part_is_disputed_where_any_summed_row_is_longer_than_the_threshold(
    row: int, bucket: int, part: int, factor: float, sign: int
) -> None:
    threshold = sum_threshold([1.0] * PEERS, 1.0, 1.0)
    liar = said(one(sign * factor * threshold, row, bucket), part=part)
    expected = (part,) if factor > 1 else ()
    assert disputed([*[said()] * (PEERS - 1), liar]) == (expected, ())


@pytest.mark.shows("VER-7")
@given(
    columns=st.lists(st.lists(st.floats(-1, 1), min_size=16, max_size=16), min_size=2, max_size=5),
    data=st.data(),
)
def test_the_order_of_contributors_plays_no_part(columns: list[list[float]], data: st.DataObject) -> None:
    """Sums are exact, so all peers dispute the same parts; checked against fractions."""
    count = len(columns)
    scalars = [said([column, *ZEROS[1:]]) for column in columns]
    threshold = sum_threshold([1.0] * count, 1.0, 1.0)
    total = [sum(Fraction(column[bucket]) for column in columns) for bucket in range(16)]
    length = sum(entry**2 for entry in total)
    result = disputed(scalars)
    if abs(float(length) - threshold**2) > 1e-9:
        assert result == (((2,), ()) if length > Fraction(threshold) ** 2 else ((), ()))
    assert disputed(data.draw(st.permutations(scalars))) == result


@pytest.mark.shows("VER-7")
def test_large_numbers_that_cancel_hide_nothing() -> None:
    threshold = sum_threshold([1.0] * PEERS, 1.0, 1.0)
    for small, expected in ((0.0, ()), (0.9 * threshold, ()), (1.1 * threshold, (2,))):
        scalars = [said(one(1e300)), said(one(small)), said(one(-1e300)), *[said()] * 3]
        assert disputed(scalars) == (expected, ())


@pytest.mark.refuses("VER-7")
@pytest.mark.parametrize("entry", [math.nan, math.inf, -math.inf, 1e308])
def test_what_is_not_finite_is_disputed(entry: float) -> None:
    assert disputed([*[said()] * 5, said(one(entry))]) == ((2,), ())
    assert disputed([*[said()] * 4, said(one(entry)), said(one(entry))]) == ((2,), ())


@pytest.mark.refuses("VER-7")
@pytest.mark.parametrize("norm", [1e9, 1e300, math.inf, math.nan])
def test_nobody_raises_the_threshold_with_huge_norms(norm: float) -> None:
    """It stays below tau / 2, whatever the liar says of its distance."""
    assert disputed([*[said()] * 5, said(one(0.6), norm=norm)]) == ((2,), ())
    assert disputed([said(one(0.6 / PEERS), norm=norm)] * PEERS)[0] == (2,)


@pytest.mark.shows("VER-7", "AGG-4")
def test_without_clipping_no_sum_is_disputed() -> None:
    plain = parameters(PEERS, tau=math.inf)
    assert disputed([*[said()] * 5, said(one(1e308))], params=plain) == ((), ())


@pytest.mark.shows("VER-7")
def test_where_nobody_contributes_nothing_is_disputed() -> None:
    assert disputed([]) == ((), ())


# -- verification 3 -------------------------------------------------------------------------------------


def alarming(count: int, norm: float = 8.1, part: int = 2) -> list[Validate]:
    """Return what `count` contributors say that are far from one part; all else is 1, and 8 alarms."""
    return [said(norm=norm, part=part)] * count + [said(part=part)] * (PEERS - count)


def farther(body: Validate, factors: Sequence[float]) -> Validate:
    """Return a VALIDATE with each part's norm so many times as large."""
    norms = zip(unpack_norms(body.norms), factors, strict=True)
    return evolve(body, norms=pack_norms([norm * factor for norm, factor in norms]))


@pytest.mark.shows("VER-8")
@pytest.mark.parametrize(
    ("count", "norm", "alarmed"), [(0, 9.0, ()), (3, 9.0, ()), (4, 8.0, ()), (4, 8.1, (2,)), (6, 1e300, (2,))]
)
def test_more_than_half_of_the_contributors_far_away_raise_an_alarm(
    count: int, norm: float, alarmed: tuple[int, ...]
) -> None:
    assert disputed(alarming(count, norm)) == (alarmed, alarmed)


@pytest.mark.shows("VER-8")
def test_distances_are_measured_by_what_is_typical_in_the_step() -> None:
    everywhere = [farther(body, [10.0] * PEERS) for body in alarming(6)]
    assert disputed(everywhere) == ((2,), (2,)), "what all parts grow by makes no difference"
    elsewhere = [farther(body, [10.0, 10.0, 1.0, 10.0, 10.0, 10.0]) for body in alarming(6)]
    assert disputed(elsewhere) == ((), ())
    assert disputed(alarming(6, 2.1), params=parameters(PEERS, alarm_factor=2.0)) == ((2,), (2,))


@pytest.mark.refuses("VER-8")
@given(
    liars=st.lists(st.lists(st.floats(0, 1e300), min_size=PEERS, max_size=PEERS), min_size=2, max_size=2),
    moved=st.sets(st.integers(0, PEERS - 1), min_size=1, max_size=2),
    far=st.floats(16.1, 1e300),
)
def test_nobody_raises_what_is_typical_to_move_its_parts_farther(
    liars: list[list[float]], moved: set[int], far: float
) -> None:
    """Two of six lie about all their distances and move up to two parts; honest distances are 1 to 2."""
    honest = [1.0, 2.0, 1.5, 1.5]
    said_by = [[far if part in moved else near for part in range(PEERS)] for near in honest]
    bodies = [evolve(said(), norms=pack_norms(norms)) for norms in (*said_by, *liars)]
    assert disputed(bodies)[1] == tuple(sorted(moved))


@pytest.mark.shows("VER-8")
@pytest.mark.refuses("VER-8")
@given(
    window=st.integers(1, 20),
    age=st.integers(1, 40),
    part=st.integers(0, PEERS - 1),
    norm=st.sampled_from([8.1, 71.9, 72.1, 1e300]),
)
def test_a_false_alarm_excuses_its_aggregator_for_a_window_and_no_larger_distance(
    window: int, age: int, part: int, norm: float
) -> None:
    """A part that is large by nature is looked at once in a window; a cheat gains no free hand by that."""
    params, aggregator = parameters(PEERS, window=window), PEERS - 1 - part
    expected = () if age < window and norm < 72 else (part,)
    state = state_of(50, {aggregator: Alarm(50 - age, 9.0)})
    assert disputed(alarming(6, norm, part), state, params) == (expected, expected)
    other = state_of(50, {(aggregator + 1) % PEERS: Alarm(50 - age, 9.0)})
    assert disputed(alarming(6, norm, part), other, params) == ((part,), (part,))


@pytest.mark.shows("VER-7", "VER-8")
def test_a_sum_that_is_off_is_disputed_in_every_step_and_is_no_alarm() -> None:
    state = state_of(alarms={PEERS - 1 - 2: Alarm(4, 9.0)})
    liars = [*alarming(5), said(one(0.6), norm=9.0)]
    assert disputed(liars, state) == ((2,), ())
    both = [farther(body, [9.0, 1.0, 1.0, 1.0, 1.0, 1.0]) for body in liars]
    assert disputed(both) == ((0, 2), (0,))


# -- in a run -------------------------------------------------------------------------------------------


class Uneven(Oracle):
    """Honest, but part 0 is a hundred times as long as the others."""

    def compute(self, me: int, request: cp.Request, entropy: bytes) -> cp.Result:
        """Compute with other norms."""
        result = super().compute(me, request, entropy)
        if isinstance(request, cp.Sketch) and isinstance(result, cp.Sketched) and request.own:
            return evolve(result, norms=pack_norms([100.0] + [1.0] * (len(result.norms) // 8 - 1)))
        return result


@pytest.mark.shows("VER-8", "VER-9", "VER-10")
def test_a_false_alarm_costs_some_traffic_and_nobodys_place() -> None:
    world = finish(world_of(4, oracle=Uneven(), steps=12, window=100))
    assert expelled(world) == []
    published = [body for body in bodies(world, Publish) if isinstance(body, Publish)]
    assert {body.part for body in published} == {0}
    alarms = dict(world.states[0].alarms)
    assert {body.step for body in published} == {alarm.step for alarm in alarms.values()}, "each peer once"
    assert {alarm.norm for alarm in alarms.values()} == {100.0}
    assert all(dict(state.alarms) == alarms for state in world.states)
    judged = [effect for effect in world.of(fx.Compute) if isinstance(effect, fx.Compute)]
    assert not [effect for effect in judged if isinstance(effect.request, cp.Judge)]


@pytest.mark.refuses("VER-2", "VER-7")
def test_whoever_spoils_a_sum_with_false_scalars_is_convicted() -> None:
    world = finish(world_of(5, seed=3, oracle=Checking(spoil=[4])), bad=[4])
    assert expelled(world) == [(4, "VER-2", "ban")]
    published = [body for body in bodies(world, Publish) if isinstance(body, Publish)]
    assert {(body.step, body.part) for body in published} == {(2, 0)}


@pytest.mark.refuses("VER-4", "VER-7", "STP-7")
@pytest.mark.parametrize("seed", [1, 2])
def test_whoever_serves_a_wrong_aggregate_is_convicted(seed: int) -> None:
    """Contributors' sketches of it do not add up, whatever else the aggregator says."""
    world = finish(world_of(5, seed=seed, oracle=Checking(wrong=[4])), bad=[4])
    assert expelled(world) == [(4, "VER-4", "ban")]


def far(body: Body) -> Body:
    """Claim to be far from every aggregate."""
    return (
        evolve(body, norms=pack_norms([1e6] * (len(body.norms) // 8))) if isinstance(body, Validate) else body
    )


@pytest.mark.refuses("VER-8")
def test_contributors_that_cry_wolf_are_convicted_of_their_numbers() -> None:
    """Two of seven cannot raise an alarm; what they say of their distances is checked all the same."""
    tamper = {peer: byz.lying(Validate, 2, far) for peer in (3, 4)}
    world = finish(world_of(7, seed=5, tamper=tamper))
    assert expelled(world)
    assert {(rule, kind) for _, rule, kind in expelled(world)} == {("VER-2", "ban")}
    assert not bodies(world, Publish)
