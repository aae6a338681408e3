"""Declared searches in which the times do not hold: peers halt, ask, and come back (spec AGR-15, AGR-18 to AGR-24)."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import evolve

from btard.statemachine.table import Phase
from fuzz.search import adversary as adv
from fuzz.search.broken import Broken
from fuzz.search.configurations import Configuration, past, small, step_0

P = Phase


def links_of(*peers: int, n: int = 3) -> tuple[tuple[int, int], ...]:
    """Return all links from and to these peers."""
    everybody = range(n)
    return tuple((a, b) for a in everybody for b in everybody if a != b and (a in peers or b in peers))


def braked(late_brake: int = 0, peers: int = 3) -> object:
    """Return the smallest parameters with this brake."""
    return evolve(small(peers=peers), late_brake=late_brake)


def halting() -> Iterable[Configuration]:
    base = Configuration(
            "",
            "nobody lies; the links of peer 0 hold back what they like as a step ends; all go on in the end",
            (),
            start=(0, P.ACCUSE),
            parameters=braked(),
            liars=(),
            until=past(0, P.ACCUSE),
        )
    for name, links in (("in", ((1, 0), (2, 0))), ("out", ((0, 1), (0, 2))), ("pair", ((0, 1), (1, 0))), ("cut-off", links_of(0)), ("ring", ((0,1), (1,2),(2,0))), ("mix", ((0,1), (1,2))),("mix2", ((0,1), (2,0)))):
        for lossy in (0,1):
            for bundled in (0,1):
                yield evolve(base, name=name+str(lossy)+str(bundled), broken=Broken(links, bool(lossy), bool(bundled), goes_on=True))
