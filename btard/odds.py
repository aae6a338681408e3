"""How soon chance finds a cheat (spec 30-step.md, Elections)."""

from __future__ import annotations

import math


def odds_of_a_look(peers: int, validators: int, attackers: int) -> float:
    """Return the odds, each step, that a given member's gradient is recomputed by an honest validator.

    The member contributes with odds (n - m) / n, is a target among the n - m contributors with m / (n - m), and
    its validator is honest with (n - f) / (n - 1).
    """
    return validators / peers * (peers - attackers) / (peers - 1)


def steps_to_find(odds: float, miss: float) -> int:
    """Return after how many steps something with these odds a step has happened, but for odds of ``miss``."""
    if odds >= 1:
        return 1
    return math.ceil(math.log(miss) / math.log1p(-odds))
