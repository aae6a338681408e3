"""Heavy computations aside from the I/O loop, and how other threads wake the loop."""

import contextlib
import socket
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, SimpleQueue
from typing import TypeAlias

from btard_transports.interface import Failure

Result: TypeAlias = tuple[Hashable, object]


class Waker:
    """A pair of sockets: any thread writes a byte, the loop polls the other end."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)

    def fileno(self) -> int:
        """The descriptor to poll for input."""
        return self._reader.fileno()

    def wake(self) -> None:
        """Make the loop turn. Safe from any thread and from signal handlers, and harmless when closed."""
        # A full buffer means that the loop is being woken already.
        with contextlib.suppress(OSError):
            self._writer.send(b"\0")

    def clear(self) -> None:
        """Forget the wake-ups so far."""
        with contextlib.suppress(BlockingIOError):
            while self._reader.recv(4096):
                pass

    def close(self) -> None:
        """Close both ends."""
        self._reader.close()
        self._writer.close()


def call(token: Hashable, function: Callable[[], object]) -> Result:
    """Run a computation; what it raises becomes a Failure."""
    try:
        return token, function()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the handler's to deal with
        return token, Failure(error)


class Worker:
    """One thread that computes in order of submission."""

    def __init__(self, waker: Waker) -> None:
        self._waker = waker
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="btard-worker")
        self._done: SimpleQueue[Result] = SimpleQueue()

    def submit(self, token: Hashable, function: Callable[[], object]) -> None:
        """Compute `function()` after what was submitted before."""
        self._pool.submit(self._run, token, function)

    def _run(self, token: Hashable, function: Callable[[], object]) -> None:
        self._done.put(call(token, function))
        self._waker.wake()

    def finished(self) -> Result | None:
        """The next finished computation, or None."""
        try:
            return self._done.get_nowait()
        except Empty:
            return None

    def close(self) -> None:
        """Wait for the computation under way and drop the others."""
        self._pool.shutdown(wait=True, cancel_futures=True)
