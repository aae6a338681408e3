"""Before the start: say hello, wait for the others, and keep what comes early (spec GEN-7)."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from typing import Any, Final

from attrs import define, field

from btard.node.hello import Hello, disagreement, encode_hello
from btard_transports.interface import Host

Report = Callable[..., None]  # event name, fields as keywords

HELLO_INTERVAL: Final = 0.25  # seconds between hellos to peers that have not answered
WAITING_INTERVAL: Final = 3.0  # seconds between lines that say who is missing
MAX_MISMATCHES: Final = 4  # reasons per peer for which it does not take part
EARLY_COST: Final = 64  # bytes at least that a frame counts for that comes before the start


@define(eq=False)
class Gathering:
    """One peer while it waits for ``others``; uses the timers "hello" and "waiting"."""

    host: Host
    others: list[int]
    hello: Hello
    differences: Callable[[Any], str]  # between this numerics class and another
    report: Report
    wait_limit: float  # seconds to wait for the others
    max_early: int  # bytes of early frames to keep from each peer
    early: deque[tuple[int, bytes]] = field(factory=deque)  # sender and frame, in the order in which they came
    _begun: float = 0.0
    _known: dict[int, Hello] = field(factory=dict)
    _mismatches: dict[int, set[str]] = field(factory=dict)
    _early_bytes: Counter[int] = field(factory=Counter)

    def begin(self) -> None:
        """Say hello from now on, and say who is missing."""
        self._begun = self.host.now()
        self.greet()
        self.host.set_timer("waiting", min(WAITING_INTERVAL, self.wait_limit))

    def greet(self) -> None:
        """Say hello, and again in a moment."""
        self.say_hello()
        self.host.set_timer("hello", HELLO_INTERVAL)

    def say_hello(self) -> None:
        """Say hello to everybody."""
        for peer in self.others:
            self.host.send(peer, encode_hello(self.hello))

    def wait(self) -> str | None:
        """Say who is missing; return why there is no use in waiting on, once the time is over."""
        missing = [peer for peer in self.others if peer not in self._known]
        waited = self.host.now() - self._begun
        if waited >= self.wait_limit:
            return (
                f"peers {missing} did not join within {self.wait_limit:g} s; check that they run with "
                "the same run file, and that their addresses and ports can be reached from here"
            )
        self.report("waiting", missing=missing, seconds=round(waited, 1))
        self.host.set_timer("waiting", min(WAITING_INTERVAL, self.wait_limit - waited))
        return None

    def greeted(self, sender: int, hello: Hello) -> bool:
        """Take note of a hello; say whether everybody is there and means the same run."""
        reason = disagreement(self.hello, hello, self.differences(hello.numerics))
        if reason is None:
            self._known[sender] = hello
            return len(self._known) == len(self.others)
        told = self._mismatches.setdefault(sender, set())
        if reason not in told and len(told) < MAX_MISMATCHES:
            told.add(reason)
            self.report("mismatch", peer=sender, reason=f"peer {sender}: {reason}")
        return False

    def keep(self, sender: int, frame: bytes) -> None:
        """Keep what comes from a peer that started a moment earlier, up to a number of bytes from each."""
        self._early_bytes[sender] += max(EARLY_COST, len(frame))
        if self._early_bytes[sender] <= self.max_early:
            self.early.append((sender, frame))
