"""Named timers in a heap."""

import heapq
import itertools
from collections.abc import Hashable, Iterator

_SLACK = 64


class Timers:
    """Timers by name; setting one again moves it."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Hashable]] = []
        self._current: dict[Hashable, int] = {}
        self._numbers = itertools.count()

    def set(self, timer: Hashable, due: float) -> None:
        """Let `timer` expire at time `due`, in seconds, in place of its earlier time if it has one."""
        number = next(self._numbers)
        self._current[timer] = number
        heapq.heappush(self._heap, (due, number, timer))
        if len(self._heap) > 2 * len(self._current) + _SLACK:
            self._heap = [entry for entry in self._heap if self._is_current(entry)]
            heapq.heapify(self._heap)

    def _is_current(self, entry: tuple[float, int, Hashable]) -> bool:
        return self._current.get(entry[2]) == entry[1]

    def next_due(self) -> float | None:
        """When the next timer expires, or None."""
        while self._heap and not self._is_current(self._heap[0]):
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def expired(self, now: float) -> Iterator[Hashable]:
        """Remove and yield, in order, the timers that are due by `now`."""
        while (due := self.next_due()) is not None and due <= now:
            _, _, timer = heapq.heappop(self._heap)
            del self._current[timer]
            yield timer
