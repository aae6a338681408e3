"""What liars gain whose false rows make the sums vanish: lemmas 4 and 5."""

import math
from collections.abc import Sequence

import pytest
import torch
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from benchmarks.bounds.measure import covered, normal
from benchmarks.bounds.shifts import ROW_LIMIT, covered_pull, displacement
from btard.robust.encoding import pack_norms, pack_rows
from btard.robust.scalars import Scalars, scalars
from btard.robust.sketch import Sketcher
from btard.robust.tolerances import malformed_row
from btard.statemachine.disputes import disputed_parts
from btard.statemachine.handle import initial
from btard.statemachine.messages import Validate
from btard.statemachine.state import Step
from fuzz.world import configs, parameters

TAU = 0.5
DIMENSION = 200


def honest_parts(count: int) -> list[Tensor]:
    rows = torch.stack(normal(count, DIMENSION, seed=1))
    rows = rows - rows.mean(dim=0)
    return list(rows / rows.norm(dim=1, keepdim=True))


def covers(said: Sequence[Scalars], liars: int, near: float) -> list[Scalars]:
    """What the liars say: together the opposite of everybody else's rows, as far as rows may be long."""
    needed = -torch.stack([own.rows for own in said]).sum(dim=0) / liars
    lengths = needed.norm(dim=1, keepdim=True)
    rows = needed * (ROW_LIMIT * TAU / lengths).clamp(max=1.0)
    assert not any(malformed_row(length, near, TAU) for length in rows.norm(dim=1).tolist())
    return [Scalars(rows, near)] * liars


def transcript(
    honest: int, followers: int, liars: int, shift: float, key: int, near: float = 1.0
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return what is disputed where one part's aggregate was moved so far along one coordinate.

    The followers' vectors lie beyond it. In all other parts everybody is at distance 1 and sums vanish.
    """
    peers = honest + followers + liars
    u = torch.eye(DIMENSION)[0]
    v = shift * u
    parts = [*honest_parts(honest), *[10 * max(1.0, shift) * u] * followers]
    said = [scalars(part, v, TAU, Sketcher(bytes([key]) * 32), 0) for part in parts]
    said += covers(said, liars, near) if liars else []
    return disputed(said, float(v.double().norm()), peers)


def disputed(
    said: Sequence[Scalars], aggregate_norm: float, peers: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    quiet = pack_rows([[0.0] * 16] * 4) * (peers - 1)
    bodies = [
        Validate(1, bytes(32), own.packed_rows() + quiet, pack_norms([own.norm] + [1.0] * (peers - 1)))
        for own in said
    ]
    members = tuple(range(peers))
    at = Step(1, aggregators=members, contributors=members, aggregate_norms=(aggregate_norm,) * peers)
    state = evolve(initial(configs(3)[0]), at=at)
    return disputed_parts(parameters(peers, tau=TAU, alarm_factor=4.0), state, tuple(bodies))


def test_without_cover_a_moved_aggregate_is_disputed_by_its_sum() -> None:
    assert transcript(honest=8, followers=0, liars=0, shift=1e-3, key=1) == ((0,), ())


def test_liars_cover_what_the_honest_cannot_outweigh() -> None:
    """24 honest, 7 cheats: five liars cover two spreads; six cover anything, so sums show nothing."""
    assert transcript(24, 2, 5, 2.0, key=1) == ((), ())
    assert transcript(24, 2, 5, 2.6, key=1)[0] == (0,)
    assert transcript(24, 1, 6, 3.5, key=1) == ((), ())


@pytest.mark.shows("BND-2")
@pytest.mark.refuses("BND-2")
@pytest.mark.parametrize("shift", [5.1, 1e3, 1e9])
@pytest.mark.parametrize(("honest", "followers", "liars"), [(4, 2, 1), (4, 0, 3), (24, 0, 7)])
def test_verification_3_finds_what_no_sum_shows(honest: int, followers: int, liars: int, shift: float) -> None:
    """A bare majority is outweighed by one liar and its followers; its distances still are its own."""
    assert covered_pull(liars, followers + liars) >= honest
    assert transcript(honest, followers, liars, shift, key=1, near=1.0) == ((0,), (0,))
    assert transcript(honest, followers, liars, 2.5, key=1, near=1.0) == ((), ())


@pytest.mark.shows("BND-2")
@given(data=st.data(), byzantine=st.integers(1, 4), spare=st.integers(0, 2), factor=st.floats(1, 10))
def test_where_no_alarm_is_raised_the_aggregate_is_near_an_honest_contributor(
    data: st.DataObject, byzantine: int, spare: int, factor: float
) -> None:
    """Whatever a minority says and however it moves its own parts: honest distances bound it (lemma 5)."""
    peers = 2 * byzantine + 1 + spare
    lengths = st.floats(0, 1e12)
    honest = range(byzantine, peers)
    said = [
        data.draw(st.lists(lengths, min_size=peers, max_size=peers))
        if peer < byzantine
        else data.draw(st.lists(lengths, min_size=byzantine, max_size=byzantine))
        + data.draw(st.lists(st.floats(0, 2), min_size=peers - byzantine, max_size=peers - byzantine))
        for peer in range(peers)
    ]
    rows = pack_rows([[0.0] * 16] * 4) * peers
    bodies = tuple(Validate(1, bytes(32), rows, pack_norms(norms)) for norms in said)
    members = tuple(range(peers))
    at = Step(1, aggregators=members, contributors=members, aggregate_norms=(0.0,) * peers)
    state = evolve(initial(configs(3)[0]), at=at)
    alarmed = disputed_parts(parameters(peers, alarm_factor=factor), state, bodies)[1]
    usual = max(said[peer][part] for peer in honest for part in honest)
    for part in set(range(byzantine)) - set(alarmed):
        assert min(said[peer][part] for peer in honest) <= factor * usual


def test_the_covered_shift_stays_within_the_bounds() -> None:
    for case in covered(honest=24, byzantine=7, tau=TAU, dimension=DIMENSION, keys=20):
        assert case.one_coordinate <= case.rows_as_vectors * 1.1
        assert case.dense <= case.bound
        assert (case.one_coordinate == math.inf) == (covered_pull(case.liars, 7) >= 24)


@given(honest=st.integers(1, 100), byzantine=st.integers(0, 99), liars=st.integers(0, 99))
def test_the_bound_grows_with_the_liars_until_there_is_none(honest: int, byzantine: int, liars: int) -> None:
    byzantine = min(byzantine, honest - 1)
    liars = min(liars, byzantine)
    pull = covered_pull(liars, byzantine)
    assert pull == 3 * liars + byzantine
    assert (displacement(1.0, 1.0, honest, pull) == math.inf) == (3 * liars + byzantine >= honest)
    assert displacement(1.0, 1.0, honest, pull) >= displacement(1.0, 1.0, honest, byzantine)
