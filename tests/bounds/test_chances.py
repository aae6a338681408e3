"""The odds of being validated and what giving up peers is worth: lemmas 6 and 8."""

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.bounds.chances import Cast, expected_steps, quantile, survival, with_aborts
from benchmarks.bounds.measure import caught_after
from btard.statemachine.election import draw_pairs
from btard.statemachine.randomness import Purpose, combine

CASTS = [Cast(8, 3, 1), Cast(16, 7, 1), Cast(16, 7, 1, liars=7), Cast(16, 5, 3, liars=2), Cast(4, 1, 1)]
RUNS = 1000


@pytest.mark.parametrize("cast", CASTS)
def test_played_elections_take_as_many_steps_as_stated(cast: Cast) -> None:
    """Kolmogorov and Smirnov: a distance above 2 / sqrt(runs) has odds of 0.0007."""
    found = caught_after(cast, RUNS)
    for step, missed in enumerate(survival(cast, int(found[-1]))):
        assert float((found > step).mean()) == pytest.approx(missed, abs=2 / RUNS**0.5)


@pytest.mark.shows("ELE-3", "ELE-4")
@pytest.mark.parametrize("cast", [Cast(8, 3, 1), Cast(16, 7, 1), Cast(16, 5, 3)])
def test_a_lie_is_looked_at_with_the_stated_odds(cast: Cast) -> None:
    contributors = range(cast.peers - cast.validators)  # a usual step; peers outside of it were validators
    trials, seen = 20_000, 0
    for trial in range(trials):
        drawn = draw_pairs(bytes(32), trial.to_bytes(32, "little"), 5, contributors, cast.validators)
        seen += any(pair.target == 0 for pair in drawn)
    assert seen / trials == pytest.approx(cast.validators / len(contributors), rel=0.08)
    assert cast.odds == pytest.approx(
        seen / trials * (cast.peers - cast.byzantine) / (cast.peers - 1), rel=0.08
    )


@settings(max_examples=40, deadline=None)
@given(byzantine=st.integers(1, 8), spare=st.integers(0, 9), validators=st.integers(1, 3))
def test_a_liar_lasts_about_as_long_as_the_odds_say(byzantine: int, spare: int, validators: int) -> None:
    peers = max(2 * byzantine + 1 + validators + spare, 3 * validators)
    cast = Cast(peers, byzantine, validators)
    assert expected_steps(cast) == pytest.approx(1 / cast.odds_per_step, rel=0.25)
    assert survival(cast, 1)[1] == pytest.approx(
        1 - min(validators, peers // 2) / peers * (peers - byzantine) / (peers - 1)
    )


def test_the_stated_numbers() -> None:
    assert Cast(16, 7, 1).odds_per_step == pytest.approx(0.0375)
    assert Cast(16, 7, 1).odds == pytest.approx(0.04)
    table = {cast: (round(expected_steps(cast), 1), quantile(cast)) for cast in CASTS}
    assert table == {
        Cast(8, 3, 1): (11.3, 100),
        Cast(16, 7, 1): (26.7, 242),
        Cast(16, 7, 1, liars=7): (3.8, 31),
        Cast(16, 5, 3, liars=2): (3.9, 32),
        Cast(4, 1, 1): (4.2, 35),
    }


@given(probability=st.floats(0, 1), peers=st.integers(0, 50))
def test_peers_given_up_multiply_a_probability_no_more_than_stated(probability: float, peers: int) -> None:
    assert with_aborts(probability, peers) <= min(1.0, (peers + 1) * probability) * (1 + 1e-12)
    assert with_aborts(probability, peers) >= probability * (1 - 1e-12)


@pytest.mark.parametrize("peers", [0, 1, 3])
@pytest.mark.parametrize("purpose", list(Purpose))
def test_who_sees_a_value_before_it_opens_has_one_more_draw_for_each_peer(purpose: Purpose, peers: int) -> None:
    """It gives up a peer, and with it the step, until it likes the value; the event has odds of 1/16."""

    def secret(*numbers: int) -> bytes:
        return hashlib.blake2b(repr(numbers).encode(), digest_size=32).digest()

    def liked(trial: int, epoch: int) -> bool:
        opened = [secret(trial, epoch, member) for member in range(4)]
        return combine(bytes(32), epoch, 3, purpose, opened)[0] < 16

    trials = 4000
    wins = sum(any(liked(trial, epoch) for epoch in range(peers + 1)) for trial in range(trials))
    assert wins / trials == pytest.approx(with_aborts(1 / 16, peers), abs=0.025)
    assert wins / trials <= (peers + 1) / 16 + 0.015
