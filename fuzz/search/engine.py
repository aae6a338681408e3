"""Breadth-first search with fingerprints: each world once, the shortest way to a violation."""

from __future__ import annotations

import marshal
import time
from collections import deque
from collections.abc import Callable

from attrs import frozen
from blake3 import blake3

from fuzz.search.model import Action, Model, Violation, World

Fingerprint = bytes


@frozen
class Found:
    """What a search came to: complete unless ``limit`` was reached; ``trace`` leads to the violation."""

    states: int
    transitions: int
    depth: int
    seconds: float  # of this process
    complete: bool
    ends: int  # worlds in which the story is over
    violation: str | None = None
    trace: tuple[Action, ...] = ()


def fingerprint(world: World) -> Fingerprint:
    """Return 128 bits that stand for a world."""
    return blake3(marshal.dumps(world.plain(), 2)).digest(length=16)


def search(model: Model, limit: int, progress: Callable[[int, int, int], None] | None = None) -> Found:
    """Visit every world that can come about, nearest first; stop at the first violation or after ``limit``."""
    began = time.process_time()
    try:
        first = model.initial()
    except Violation as violation:
        return Found(0, 0, 0, time.process_time() - began, False, 0, str(violation))
    parents: dict[Fingerprint, tuple[Fingerprint, Action] | None] = {fingerprint(first): None}
    queue = deque([(first, fingerprint(first), 0)])
    transitions = ends = depth = 0
    good: list[Fingerprint] = []  # worlds from which nothing more is asked
    before: dict[
        Fingerprint, list[Fingerprint]
    ] = {}  # for each world those that it follows, where that is asked

    def found(violation: str | None, trace: tuple[Action, ...] = (), complete: bool = True) -> Found:
        seconds = time.process_time() - began
        return Found(len(parents), transitions, depth, seconds, complete, ends, violation, trace)

    while queue:
        world, here, depth = queue.popleft()
        action: Action | None = None
        try:
            if model.over(world):
                ends += 1
                good.append(here)
                model.check_end(world)
                continue
            model.check_stuck(world)
            for action in model.actions(world):
                transitions += 1
                following = model.apply(world, action)
                key = fingerprint(following)
                if model.goes_on:
                    before.setdefault(key, []).append(here)
                if key not in parents:
                    parents[key] = (here, action)
                    queue.append((following, key, depth + 1))
                    if progress is not None and len(parents) % 10_000 == 0:
                        progress(len(parents), len(queue), depth)
            if len(parents) > limit:
                return found(None, complete=False)
        except Violation as violation:
            trace = _trace(parents, here)
            return found(str(violation), (*trace, action) if action else trace)
    if model.goes_on:
        ways = _leading_to(good, before)
        for here in parents:  # nearest first
            if here not in ways:
                return found("from here no way leads to where all go on", _trace(parents, here))
    return found(None)


def _leading_to(good: list[Fingerprint], before: dict[Fingerprint, list[Fingerprint]]) -> set[Fingerprint]:
    """Return all worlds from which some way leads to one of these."""
    found, waiting = set(good), list(good)
    while waiting:
        for here in before.get(waiting.pop(), ()):
            if here not in found:
                found.add(here)
                waiting.append(here)
    return found


def _trace(
    parents: dict[Fingerprint, tuple[Fingerprint, Action] | None], end: Fingerprint
) -> tuple[Action, ...]:
    trace: list[Action] = []
    step = parents[end]
    while step is not None:
        before, action = step
        trace.append(action)
        step = parents[before]
    return tuple(reversed(trace))
