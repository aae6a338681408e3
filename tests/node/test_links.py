"""Links are told as they change, and one that flaps does not fill the log."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from btard.node.links import LONGEST, TIMER, Links


class Clock:
    """A host with nothing but a clock and one timer."""

    def __init__(self) -> None:
        self.time = 0.0
        self.due: float | None = None

    def now(self) -> float:
        return self.time

    def set_timer(self, timer: object, delay: float) -> None:
        assert timer == TIMER
        assert delay > 0
        self.due = self.time + delay

    def until(self, time: float, links: Links) -> None:
        while self.due is not None and self.due <= time:
            self.time, self.due = max(self.time, self.due), None
            links.due()
        self.time = max(self.time, time)


Told = list[tuple[float, int, bool]]


def made() -> tuple[Clock, Links, Told]:
    clock = Clock()
    told: Told = []

    def report(event: str, **fields: Any) -> None:
        assert event == "link"
        told.append((clock.time, fields["peer"], fields["up"]))

    host: Any = clock
    return clock, Links(host, report), told


changes = st.lists(st.tuples(st.floats(0, 20), st.integers(1, 3), st.booleans()), max_size=60)


@given(changes)
def test_what_is_told_alternates_and_ends_with_the_truth(changes: list[tuple[float, int, bool]]) -> None:
    clock, links, told = made()
    truth: dict[int, bool] = {}
    for delay, peer, up in changes:
        clock.until(clock.time + delay, links)
        links.changed(peer, up)
        truth[peer] = up
    clock.until(clock.time + 10 * LONGEST, links)
    assert links.up == {peer for peer, up in truth.items() if up}
    for peer, up in truth.items():
        said = [state for _, other, state in told if other == peer]
        assert said == [index % 2 == 0 for index in range(len(said))]
        assert (said[-1] if said else False) == up


def test_a_link_that_flaps_for_an_hour_is_told_of_a_hundred_times_at_most() -> None:
    clock, links, told = made()
    for number in range(36_000):
        clock.until(number / 10, links)
        links.changed(1, number % 2 == 0)
    assert 10 < len(told) < 100


def test_a_single_change_is_told_at_once() -> None:
    clock, links, told = made()
    links.changed(1, True)
    clock.until(500.0, links)
    links.changed(1, False)
    assert told == [(0.0, 1, True), (500.0, 1, False)]
