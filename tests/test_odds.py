"""How soon chance finds a cheat, held against draws of the elections themselves."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from btard.attacks.expected import CASES, MISS, When
from btard.odds import odds_of_a_look, steps_to_find
from btard.statemachine.election import draw_pairs

RUN = bytes(32)


@given(st.floats(1e-4, 0.999), st.floats(1e-6, 0.5))
def test_the_number_of_steps_is_the_least_that_suffices(odds: float, miss: float) -> None:
    steps = steps_to_find(odds, miss)
    assert (1 - odds) ** steps <= miss * (1 + 1e-9)
    assert steps == 1 or (1 - odds) ** (steps - 1) > miss * (1 - 1e-9)


def test_what_is_certain_takes_one_step() -> None:
    assert steps_to_find(1.0, 1e-9) == 1


@pytest.mark.shows("ELE-3", "ELE-4")
@pytest.mark.parametrize(("peers", "validators", "attackers"), [(8, 1, 1), (8, 1, 3), (8, 2, 2), (16, 1, 7)])
def test_the_odds_are_those_of_the_elections(peers: int, validators: int, attackers: int) -> None:
    """Peers 0, 1, ... attack; how often is 0 a target of somebody honest, whoever contributes by turns?"""
    draws, looks, steps = random.Random(7), 0, 2000
    contributors: tuple[int, ...] = tuple(range(peers))
    for step in range(1, steps + 1):
        pairs = draw_pairs(RUN, draws.randbytes(32), step, contributors, validators)
        looks += any(pair.target == 0 and pair.validator >= attackers for pair in pairs)
        contributors = tuple(set(range(peers)) - {pair.validator for pair in pairs})
    odds = odds_of_a_look(peers, validators, attackers)
    assert looks / steps == pytest.approx(odds, abs=5 * (odds * (1 - odds) / steps) ** 0.5)


def test_the_stated_numbers_of_steps() -> None:
    """Eight peers, one validator: what the README says."""
    stated = {when: [Case.within(8, 1, f) for f in (1, 3)] for when, Case in {c.when: c for c in CASES}.items()}
    assert MISS == 1e-4
    assert stated == {
        When.TARGET: [70, 100],
        When.VALIDATOR: [69, 69],
        When.AGGREGATOR: [7, 7],
        When.AT_ONCE: [1, 1],
        When.NEVER: [1, 1],
    }
