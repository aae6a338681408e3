"""Which sources of input a loop watches, and what to do about each."""

import math
from collections.abc import Callable, Iterator
from typing import TypeAlias

import zmq

from btard_transports.delivery import Delivery
from btard_transports.sockets import Socket

Source: TypeAlias = Socket | int  # a ZeroMQ socket or a file descriptor
Action: TypeAlias = Callable[[], Iterator[Delivery]]


class Watch:
    """Sources in the order of their urgency, each with an action."""

    def __init__(self) -> None:
        self._poller = zmq.Poller()
        self._actions: dict[Source, Action] = {}

    def add(self, source: Source, action: Action) -> None:
        """Run `action` whenever `source` has input."""
        self._actions[source] = action
        self._poller.register(source, zmq.POLLIN)

    def remove(self, source: Source) -> None:
        """Watch the source no longer."""
        del self._actions[source]
        self._poller.unregister(source)

    def turn(self, timeout: float) -> Iterator[Delivery]:
        """Wait at most `timeout` seconds for input, then run the actions of the sources that have some."""
        for source, _ in self._poller.poll(math.ceil(timeout * 1000)):
            action = self._actions.get(source)
            # A delivery of this turn may have removed the source.
            if action is not None:
                yield from action()
