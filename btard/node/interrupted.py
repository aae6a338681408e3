"""Ctrl-C while a peer runs: it ends between two events, never within one."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Any, Final, Self

_NUMBERS: Final = (signal.SIGINT, signal.SIGTERM)


class Interrupted:
    """Takes note of SIGINT and SIGTERM; only the second of them interrupts whatever runs.

    An exception that a signal raises anywhere can be lost: libraries written in C ignore what comes out of some
    of their callbacks. To be used in the main thread.
    """

    def __init__(self) -> None:
        self._noted = False
        self._previous: dict[int, Any] = {}

    def check(self) -> None:
        """Raise KeyboardInterrupt if there was a signal."""
        if self._noted:
            raise KeyboardInterrupt

    def __enter__(self) -> Self:
        self._previous = {number: signal.signal(number, self._note) for number in _NUMBERS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self.check()
        self._noted = True
