"""The network between peers on one machine, which can be parted: every connection goes through here.

A relay listens on each address of the run file, and the peers listen elsewhere (--bind-control, --bind-bulk).
Who dials is told by whose process holds the other end. What crosses a cut is held back, as by lost packets: no
connection is refused or reset, and what was held back comes when the cut has healed.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from typing import Any

import psutil
from attrs import define, field

CHUNK = 1 << 16
Address = str  # tcp://host:port


@define(eq=False)
class Relay:
    """All connections between peers; `who` tells the process id of each peer by its index."""

    fronts: Sequence[tuple[Address, Address]]
    backs: Sequence[tuple[Address, Address]]
    who: Callable[[], dict[int, int]]
    _loop: asyncio.AbstractEventLoop = field(factory=asyncio.new_event_loop)
    _opened: asyncio.Event = field(factory=asyncio.Event)  # is replaced when a cut heals
    _groups: tuple[frozenset[int], ...] = ()
    _callers: dict[int, int] = field(factory=dict)  # by port
    _looking: asyncio.Lock = field(factory=asyncio.Lock)

    def part(self, *groups: Iterable[int]) -> None:
        """Let nothing pass between groups any more; who is in none is cut off from all."""
        self._call(self._part(tuple(frozenset(group) for group in groups)))

    def heal(self) -> None:
        """Let everything pass again, and what was held back."""
        self._call(self._part(()))

    async def _part(self, groups: tuple[frozenset[int], ...]) -> None:
        self._groups = groups
        self._opened.set()  # whoever waits looks again
        self._opened = asyncio.Event()

    def _call(self, what: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(what, self._loop).result(10)

    def _passes(self, one: int, other: int) -> bool:
        return not self._groups or any({one, other} <= group for group in self._groups)

    async def _until_passes(self, one: int, other: int) -> None:
        while not self._passes(one, other):
            await self._opened.wait()

    async def _caller(self, port: int) -> int | None:
        """Whose connection has this port; None where it is gone already."""
        async with self._looking:  # many dial at once: one look at all processes finds them all
            if port not in self._callers:
                self._callers |= await asyncio.to_thread(self._look)
            return self._callers.pop(port, None)  # it may be somebody else's later

    def _look(self) -> dict[int, int]:
        found = {}
        for peer, process in self.who().items():
            with contextlib.suppress(psutil.Error):
                for connection in psutil.Process(process).net_connections("tcp"):
                    if connection.laddr:
                        found[connection.laddr.port] = peer
        return found

    async def _carry(self, owner: int, back: int, near: Stream, far: asyncio.StreamWriter) -> None:
        with contextlib.closing(far):
            caller = await self._caller(far.get_extra_info("peername")[1])
            if caller is None:
                return
            await self._until_passes(caller, owner)
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_connection("127.0.0.1", back)
                with contextlib.closing(writer):
                    ways = [
                        asyncio.ensure_future(self._pump(near, writer, caller, owner)),
                        asyncio.ensure_future(self._pump(reader, far, caller, owner)),
                    ]
                    try:
                        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                    finally:
                        for way in ways:
                            way.cancel()
                        await asyncio.gather(*ways, return_exceptions=True)

    async def _pump(self, near: Stream, far: asyncio.StreamWriter, one: int, other: int) -> None:
        while data := await near.read(CHUNK):
            await self._until_passes(one, other)
            far.write(data)
            await far.drain()

    async def _serve(self, ready: threading.Event, over: asyncio.Event) -> None:
        carried: set[asyncio.Task[None]] = set()
        async with contextlib.AsyncExitStack() as closing:
            for owner, (fronts, backs) in enumerate(zip(self.fronts, self.backs, strict=True)):
                for front, back in zip(fronts, backs, strict=True):

                    def accept(
                        near: Stream, far: asyncio.StreamWriter, owner: int = owner, back: int = _port(back)
                    ) -> None:
                        task = self._loop.create_task(self._carry(owner, back, near, far))
                        carried.add(task)
                        task.add_done_callback(carried.discard)

                    server = await asyncio.start_server(
                        accept, "127.0.0.1", _port(front), backlog=512, reuse_address=True
                    )
                    closing.callback(server.close)
            ready.set()
            await over.wait()
        for task in carried:
            task.cancel()
        await asyncio.gather(*carried, return_exceptions=True)

    @contextlib.contextmanager
    def running(self) -> Iterator[Relay]:
        """Listen, until the context is left."""
        ready, over = threading.Event(), asyncio.Event()
        thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(ready, over),))
        thread.start()
        try:
            assert ready.wait(10)
            yield self
        finally:
            self._loop.call_soon_threadsafe(over.set)
            thread.join(10)
            self._loop.close()


Stream = asyncio.StreamReader


def _port(address: Address) -> int:
    return int(address.rpartition(":")[2])
