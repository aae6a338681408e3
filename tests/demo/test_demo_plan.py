"""Who cheats, how and when; and what no demonstration can be given of."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from btard.demo.plan import DEFAULT_ATTACKS, Plan, Variant, bearable, make_plan
from btard.errors import BtardError

DEFAULTS: dict[str, Any] = {
    "peers": 8,
    "steps": 200,
    "seed": 1,
    "attacks": [],
    "tau": 0.3,
    "validators": 1,
}


def plan_with(**changes: Any) -> Plan:
    return make_plan(**DEFAULTS | changes)


def test_by_default_three_of_eight_cheat_from_step_60_on() -> None:
    plan = plan_with()
    assert sorted(attack.name for attack in plan.attacks.values()) == sorted(DEFAULT_ATTACKS)
    assert {attack.from_step for attack in plan.attacks.values()} == {60}
    assert len(plan.honest) == 5


@given(st.integers(4, 40), st.integers(10, 1000), st.integers(0, 10**9))
def test_any_number_of_peers_gets_as_many_default_cheats_as_it_bears(peers: int, steps: int, seed: int) -> None:
    plan = plan_with(peers=peers, steps=steps, seed=seed)
    assert len(plan.attacks) == min(3, bearable(peers, 1))
    assert sorted({*plan.honest, *plan.attacks}) == list(range(peers))
    assert 1 <= plan.attack_start <= 0.3 * steps
    for variant in Variant:
        assert list(plan.parameters(variant, 10**4).problems(peers)) == []


@given(st.integers(3, 100), st.integers(0, 10))
def test_one_more_cheat_than_are_bearable_would_be_half_of_the_contributors(
    peers: int, validators: int
) -> None:
    most = bearable(peers, validators)
    assert 2 * (most + 1) >= peers - validators
    assert most == 0 or peers - validators > 2 * most


def test_the_seed_decides_who_cheats_and_what_is_learnt_first() -> None:
    plans = [plan_with(seed=seed) for seed in range(20)]
    assert plan_with(seed=3) == plans[3]
    assert len({tuple(plan.attacks) for plan in plans}) > 5
    assert len({plan.run_seed for plan in plans}) == 20


def test_without_defence_only_radius_and_validators_differ() -> None:
    plan = plan_with()
    defended, bare = (plan.parameters(v, 1000) for v in (Variant.BTARD, Variant.UNDEFENDED))
    assert (bare.tau, bare.validators) == (math.inf, 0)
    assert (bare.steps, bare.f_max, bare.dimension) == (defended.steps, defended.f_max, defended.dimension)
    assert plan.parameters(Variant.ATTACK_FREE, 1000) == defended


def test_attacks_are_placed_and_started_as_told() -> None:
    plan = plan_with(attacks=["sign_flip@20", "bad_aggregate:shift=0.01"])
    assert sorted(map(str, plan.attacks.values())) == ["bad_aggregate@60:shift=0.01", "sign_flip@20"]
    assert plan.attack_start == 20


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"attacks": ["sign_flip"] * 4}, "at most 3 cheats.*--peers 10"),
        ({"peers": 3}, "bear no cheat; at least 4 peers"),
        ({"attacks": ["sing_flip"]}, "no attack is called 'sing_flip'"),
        ({"attacks": ["sign_flip@0"]}, "from 1 on"),
        ({"attacks": ["sign_flip@201"]}, "after the last step, 200"),
        ({"steps": 9}, "--steps 9: too few"),
        ({"peers": 100_000}, "at most"),
        ({"peers": -1}, "bear no cheat"),
        ({"tau": 0.0}, "tau = 0.0: must be positive"),
        ({"tau": math.nan}, "tau"),
        ({"validators": -1}, "validators = -1"),
        ({"validators": 4, "attacks": ["sign_flip"]}, "at most a third"),
    ],
)
def test_what_cannot_be_shown_is_refused_in_one_line(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(BtardError, match=says) as refused:
        plan_with(**changes)
    assert "\n" not in str(refused.value)
