"""Before the start: say hello, wait for the others, and keep what comes early (spec GEN-7)."""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Callable
from typing import Any, Final

from attrs import define, evolve, field

from btard.node.hello import Hello, disagreement, encode_hello
from btard.node.links import Links
from btard.robust.deviation import largest_deviation
from btard_transports.interface import Host

Report = Callable[..., None]  # event name, fields as keywords

HELLO_INTERVAL: Final = 0.25  # seconds between hellos to peers that have not answered
WAITING_INTERVAL: Final = 3.0  # seconds between lines that say who is missing
MAX_MISMATCHES: Final = 4  # reasons per peer for which it does not take part
MAX_REASONS: Final = 4  # peers of whom the last line says why they did not come
TWINS: Final = (
    "two processes say hello with its key; stop one of them: what two sign with one key gets it banned"
)
TWIN_SECONDS: Final = 4 * HELLO_INTERVAL  # of silence until a process counts as stopped
EARLY_COST: Final = 64  # bytes at least that a frame counts for that comes before the start


@define(eq=False)
class Gathering:
    """One peer while it waits for ``others``; uses the timers "hello" and "waiting"."""

    host: Host
    links: Links
    others: list[int]
    enough: int  # so many of them have to answer
    hello: Hello
    differences: Callable[[Any], str]  # between this numerics class and another
    described: Callable[[Any], str]  # a numerics class in words
    tolerance: float | None  # how far other canaries may be off (spec GEN-7); None: not at all
    report: Report
    wait_limit: float  # seconds to wait for the others
    max_early: int  # bytes of early frames to keep from each peer
    early: deque[tuple[int, bytes]] = field(factory=deque)  # sender and frame, in the order in which they came
    _begun: float = 0.0
    _known: dict[int, Hello] = field(factory=dict)
    _mismatches: dict[int, set[str]] = field(factory=dict)
    _joined: set[int] = field(factory=set)  # whose first fitting hello was told
    _wrong: dict[int, str] = field(factory=dict)  # what did not match in the last hello
    _starts: dict[int, tuple[bytes, bytes | None]] = field(factory=dict)  # the processes heard of last
    _twins: dict[int, float] = field(factory=dict)  # when two processes were last heard of
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
            self.host.send(peer, encode_hello(evolve(self.hello, to=self._heard(peer))))

    def _heard(self, peer: int) -> bytes:
        """What a member's process has drawn, as far as known."""
        return self._starts[peer][0] if peer in self._starts else b""

    def answer(self, peer: int, hello: Hello) -> bool:
        """Say hello to a process that does not know this one; say whether another of its key was known."""
        another = peer in self._known and self._known[peer].start != hello.start
        if another:
            self._known[peer] = hello
        self.host.send(peer, encode_hello(evolve(self.hello, to=hello.start)))
        return another

    def unwelcome(self, peer: int, hello: Hello) -> str | None:
        """Say why a hello that comes after the start is not answered; None where it is."""
        reason = self._twin(peer, hello)
        return reason or disagreement(self.hello, hello, self.differences(hello.numerics), self.tolerance)

    @property
    def missing(self) -> list[int]:
        """Who has not said a hello that fits."""
        return [peer for peer in self.others if peer not in self._known]

    def why_missing(self, peer: int) -> str:
        """Say in words what is known about why a peer is missing."""
        if peer in self._wrong:
            return re.split("[:;] ", self._wrong[peer])[0]  # what to do was said when it was found
        if trouble := self.host.trouble(peer):
            return trouble
        if peer in self.links.up:
            return "connected, but it does not answer: it is still loading, or cannot reach this peer"
        return "no connection yet"

    def wait(self) -> str | None:
        """Say who is missing; return why there is no use in waiting on, once the time is over."""
        missing = self.missing
        waited = self.host.now() - self._begun
        if waited >= self.wait_limit:
            why = "; ".join(f"peer {peer}: {self.why_missing(peer)}" for peer in missing[:MAX_REASONS])
            return (
                f"peers {missing} did not join within {self.wait_limit:g} s ({why}); check that they run "
                "with the same run file, and that addresses and ports can be reached, there and here"
            )
        reasons = [self.why_missing(peer) for peer in missing]
        self.report("waiting", missing=missing, seconds=round(waited, 1), reasons=reasons)
        self.host.set_timer("waiting", min(WAITING_INTERVAL, self.wait_limit - waited))
        return None

    def greeted(self, sender: int, hello: Hello) -> bool:
        """Take note of a hello; say whether all that are needed have answered and mean the same run."""
        if reason := self.unwelcome(sender, hello):
            self._known.pop(sender, None)
            self._mismatch(sender, reason)
            return False
        self._wrong.pop(sender, None)
        if hello.to != self.hello.start:
            return False  # the answer comes after all that it holds of this peer (spec MSG-9)
        self._known[sender] = hello
        if sender not in self._joined:  # once: a peer may change its mind for ever
            self._joined.add(sender)
            self.report("joined", peer=sender, missing=self.missing)
        return len(self._known) >= self.enough

    def report_classes(self) -> None:
        """Say which numerics classes take part: who computes equal bits, and how far off the others are."""
        (me,) = {*range(len(self.others) + 1)} - {*self.others}
        hellos = {**self._known, me: self.hello}
        classes: dict[tuple[bytes, str], list[int]] = {}
        for peer, hello in sorted(hellos.items()):
            classes.setdefault((hello.canary, self.described(hello.numerics)), []).append(peer)
        self.report(
            "numerics",
            classes=[f"peers {peers}: {words}" for (_, words), peers in classes.items()],
            deviation=max(largest_deviation(self.hello.scalars, hello.scalars) for hello in hellos.values()),
        )

    def _twin(self, sender: int, hello: Hello) -> str | None:
        """Say that two processes have one key: the earlier of them is heard of again (spec OPS-1)."""
        now, (current, before) = self.host.now(), self._starts.get(sender, (hello.start, None))
        if hello.start == before:
            self._twins[sender] = now
        if hello.start != current:
            current, before = hello.start, current
        self._starts[sender] = current, before
        return TWINS if now < self._twins.get(sender, -TWIN_SECONDS) + TWIN_SECONDS else None

    def _mismatch(self, sender: int, reason: str) -> None:
        self._wrong[sender] = reason
        told = self._mismatches.setdefault(sender, set())
        if reason not in told and len(told) < MAX_MISMATCHES:
            told.add(reason)
            self.report("mismatch", peer=sender, reason=f"peer {sender}: {reason}")

    def keep(self, sender: int, frame: bytes) -> None:
        """Keep what comes from a peer that started a moment earlier, up to a number of bytes from each."""
        self._early_bytes[sender] += max(EARLY_COST, len(frame))
        if self._early_bytes[sender] <= self.max_early:
            self.early.append((sender, frame))
