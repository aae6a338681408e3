"""Search one declared configuration, with or without a planted fault."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

from attrs import evolve, frozen

from fuzz.planted import Planted
from fuzz.search.broken import BrokenModel
from fuzz.search.configurations import Configuration
from fuzz.search.engine import Found, search
from fuzz.search.model import Model
from fuzz.search.trace import told


@frozen
class Report:
    """What a search found, and in words how a violation comes about, a line an event."""

    configuration: Configuration
    found: Found
    lines: tuple[str, ...]

    def summary(self) -> str:
        """Return one line with the numbers."""
        found = self.found
        outcome = found.violation or ("complete" if found.complete else "stopped at the limit")
        return (
            f"{self.configuration.name}: {found.states} states, {found.transitions} transitions, "
            f"depth {found.depth}, {found.seconds:.1f} s: {outcome}"
        )


def run(
    configuration: Configuration,
    fault: Planted | None = None,
    progress: Callable[[int, int, int], None] | None = None,
) -> Report:
    """Search ``configuration`` up to its limit; stop at the first violation."""
    if fault is not None:
        configuration = evolve(configuration, timing=fault.timing(configuration.timing))
    with fault.planted() if fault else nullcontext():
        model = Model(configuration) if configuration.broken is None else BrokenModel(configuration)
        found = search(model, configuration.limit, progress)
        lines = tuple(told(model, found.trace)) if found.trace else ()
        if lines and not lines[-1].endswith(str(found.violation)):
            lines = (*lines, f"     => {found.violation}")
    return Report(configuration, found, lines)
