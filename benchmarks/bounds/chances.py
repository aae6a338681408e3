"""The odds of being validated (spec/45-bounds.md, lemma 6), and what giving up peers is worth (lemma 8)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from attrs import frozen

from btard.hashing import digest
from btard.statemachine.election import draw_pairs


@frozen
class Cast:
    """A run's peers: so many members, Byzantine ones among them, liars among those; pairs a step."""

    peers: int
    byzantine: int
    validators: int
    liars: int = 1

    @property
    def odds(self) -> float:
        """Probability that an honest validator looks at one given lie, if nobody sat out the step before.

        In the long run it is also the mean over steps in which a liar contributes (ELE-3).
        """
        contributors = self.peers - self.validators
        return self.validators / contributors * (self.peers - self.byzantine) / (self.peers - 1)

    @property
    def odds_per_step(self) -> float:
        """The same per step of the run: a peer contributes in all steps in which it does not validate."""
        return self.odds * (self.peers - self.validators) / self.peers


def survival(cast: Cast, steps: int) -> list[float]:
    """Return the exact probability that all lies of steps 1..t are missed, for t = 0..steps (lemma 6).

    The liars lie in every step in which they contribute. All that matters is how many liars and honest
    peers are the validators of a step, since these sit it out and are not drawn in the next.
    """
    states = {(0, 0, 0): 1.0}  # liars, honest peers and others who sit the step out
    missed = [1.0]
    for _ in range(steps):
        following: dict[tuple[int, int, int], float] = {}
        for sitting, probability in states.items():
            for drawn, chance in _draws(cast, sitting):
                following[drawn] = following.get(drawn, 0.0) + probability * chance
        states = following
        missed.append(sum(states.values()))
    return missed


def _draws(cast: Cast, sitting: tuple[int, int, int]) -> Iterator[tuple[tuple[int, int, int], float]]:
    """Yield who validates next and the probability of that together with no liar being found."""
    liars = cast.liars - sitting[0]
    honest = cast.peers - cast.byzantine - sitting[1]
    others = cast.byzantine - cast.liars - sitting[2]
    contributors = liars + honest + others
    pairs = min(cast.validators, contributors // 2)
    for l_drawn in range(min(liars, pairs) + 1):
        for h_drawn in range(min(honest, pairs - l_drawn) + 1):
            o_drawn = pairs - l_drawn - h_drawn
            ways = math.comb(liars, l_drawn) * math.comb(honest, h_drawn) * math.comb(others, o_drawn)
            rest = contributors - pairs
            spared = math.comb(rest - (liars - l_drawn), h_drawn) / math.comb(rest, h_drawn)
            if ways:
                yield (l_drawn, h_drawn, o_drawn), ways / math.comb(contributors, pairs) * spared


def expected_steps(cast: Cast) -> float:
    """Return the expected number of steps until a lie is found."""
    missed = survival(cast, quantile(cast, 1e-9))
    return math.fsum(missed)


def quantile(cast: Cast, missed: float = 1e-4) -> int:
    """Return the first step by which a lie has been found but with this probability."""
    steps = 64
    while (curve := survival(cast, steps))[-1] > missed:
        steps *= 2
    return next(step for step, left in enumerate(curve) if left <= missed)


def played(cast: Cast, run: int, limit: int = 100_000) -> int:
    """Play one run with the real elections; return the step whose lies are found.

    Peers 0..liars-1 lie whenever they contribute; the first ``byzantine`` peers spare each other.
    """
    name = digest("test run", run.to_bytes(8, "little"))
    contributors: Sequence[int] = range(cast.peers)
    for step in range(1, limit):
        election = digest("test election", name, step.to_bytes(8, "little"))
        pairs = draw_pairs(name, election, step + 1, contributors, cast.validators)
        if any(pair.target < cast.liars and pair.validator >= cast.byzantine for pair in pairs):
            return step
        validators = {pair.validator for pair in pairs}
        contributors = [peer for peer in range(cast.peers) if peer not in validators]
    raise RuntimeError(f"no lie was found in {limit} steps")


def with_aborts(probability: float, peers: int) -> float:
    """Return the probability that one of ``peers`` + 1 independent draws is an event of ``probability``.

    Whoever sees a shared value before it opens its own can spoil the step, at the price of a peer; the step is
    repeated with new secrets. At most (``peers`` + 1) * ``probability`` (lemma 8).
    """
    return -math.expm1((peers + 1) * math.log1p(-probability)) if probability < 1 else 1.0
