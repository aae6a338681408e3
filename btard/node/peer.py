"""One running peer: carries out what the state machine wants, over any transport (spec STP-2).

The same class runs over ZeroMQ in real time and over memory in virtual time. It decides nothing about the
protocol: it decodes, keeps the journal, moves objects, computes in the background, and reports.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Hashable
from typing import Any, Protocol, cast

from attrs import define, field

from btard.ledger.entry import Judgement, objects_of, target_step
from btard.ledger.file import Ledger
from btard.ledger.recorder import Recorder
from btard.node.gathering import Gathering, Report
from btard.node.hello import Hello, decode_hello
from btard.node.journal import Journal
from btard.node.links import TIMER as LINKS_TIMER
from btard.node.links import Links
from btard.node.store import ObjectStore
from btard.statemachine import effects as fx
from btard.statemachine.compute import Apply, Judge, Request, Result
from btard.statemachine.config import Config
from btard.statemachine.events import Computed, Event, Fired, Held, Received, Resume, Start
from btard.statemachine.handle import handle, initial
from btard.statemachine.messages import Chain, Digest, Frame
from btard.statemachine.state import State
from btard.wire import WireError, decode_frame, encode_frame, max_frame
from btard_transports.interface import Failure, Host


class Compute(Protocol):
    """The numeric backend."""

    store: ObjectStore
    model_size: int  # bytes of the model as an object

    def compute(self, request: Request) -> Result:
        """Return the result of a request."""

    def model_before(self, step: int) -> memoryview:
        """Return the bytes of the parameters before a step."""

    def progress(self, step: int) -> dict[str, float]:
        """Return loss, and accuracy where it is due, after ``step``."""


@define(eq=False)
class Peer:
    """A handler of transport events around one state machine."""

    config: Config
    host: Host
    backend: Compute
    journal: Journal | None  # None only where nothing outlives the process: in simulations
    ledger: Ledger
    hello: Hello
    differences: Callable[[Any], str]  # between this numerics class and another
    described: Callable[[Any], str]  # a numerics class in words
    report: Report
    tolerance: float | None = None  # how far other canaries may be off (spec GEN-7); None: not at all
    wait_limit: float = 60.0  # seconds to wait for the others before the start
    state: State = field(init=False)
    failure: str | None = None  # why this peer stopped, in a line
    released: bool = False
    started: bool = False
    _complaints: Counter[tuple[str, int]] = field(factory=Counter)
    links: Links = field(init=False)
    recorder: Recorder = field(init=False)
    gathering: Gathering = field(init=False)
    _events: deque[Event] = field(factory=deque)
    _steps: dict[bytes, int] = field(factory=dict)  # of objects being fetched
    _offered: dict[bytes, frozenset[int] | None] = field(factory=dict)  # to whom; None: to everybody
    _reporting: int = 0  # figures to report, and judgements to keep, that are under way

    def __attrs_post_init__(self) -> None:
        self.state = initial(self.config)
        self.recorder = Recorder(self.config, self.ledger, self._send_to, self._warn)

    @property
    def over(self) -> bool:
        """Whether this peer has nothing more to do, nor to report."""
        return self.failure is not None or (self.released and not self._reporting)

    # -- before the start -------------------------------------------------------------------------------

    def begin(self) -> None:
        """Say hello until everybody has answered, then start."""
        self.links = Links(self.host, self.report)
        self.gathering = Gathering(
            host=self.host,
            links=self.links,
            others=[peer for peer in range(self.config.peers) if peer != self.config.me],
            hello=self.hello,
            differences=self.differences,
            described=self.described,
            tolerance=self.tolerance,
            report=self.report,
            wait_limit=self.wait_limit,
            max_early=max_frame(self.config.peers),
        )
        self.gathering.begin()

    def _greeted(self, sender: int, hello: Hello) -> None:
        if not self.started:
            if self.gathering.greeted(sender, hello):
                self._start()
        # The answer to any other is this peer's last hello, or that on its timer.
        elif self.gathering.is_another(sender, hello):
            self._complain(
                "again",
                sender,
                "another process says hello with its key: nobody can join a run again, and what two sign with "
                "one key gets it banned",
            )

    def _start(self) -> None:
        self.started = True
        self.gathering.say_hello()
        self.gathering.report_classes()
        self.report("started", step=0)
        self._feed(Start(self.hello.model))
        while self.gathering.early:
            self.on_control(*self.gathering.early.popleft())

    # -- what the transport tells -----------------------------------------------------------------------

    def on_control(self, peer: int, frame: bytes) -> None:
        """A control frame came from an authenticated peer; garbage is logged and dropped."""
        if self.failure is not None:
            return
        hello = decode_hello(frame)
        if hello is not None:
            self._greeted(peer, hello)
        elif not self.started:
            self.gathering.keep(peer, frame)
        else:
            try:
                decoded = decode_frame(frame, self.config.peers)
            except WireError as error:
                self._complain("garbage", peer, str(error)[:200])
                return
            if not (isinstance(decoded, Chain) and self.recorder.received(self.state, peer, decoded)):
                self._feed(Received(peer, decoded))

    def on_bulk(self, digest: bytes, data: memoryview | bytearray) -> None:
        """A fetched object came; its size and digest hold."""
        step = self._steps.pop(digest, None)
        if step is not None and self.failure is None:
            self.backend.store.add_fetched(digest, data, step)
            self._feed(Held(digest, len(data)))

    def resume(self) -> None:
        """The operator says that the run goes on without those whom the brake keeps (spec AGR-24)."""
        self.report("resumed", step=self.state.at.number)
        self._feed(Resume())

    def on_timer(self, timer: Hashable) -> None:
        """A timer ran out."""
        if self.failure is not None:
            return
        if timer == "hello":
            # Also for a while after the start: a peer that is still waiting needs it.
            if not self.started or self.state.at.number == 0:
                self.gathering.greet()
        elif timer == "waiting":
            reason = None if self.started else self.gathering.wait()
            if reason is not None:
                self._fail(reason)
        elif timer == LINKS_TIMER:
            self.links.due()
        elif isinstance(timer, tuple):
            self._feed(Fired(timer))

    def on_done(self, token: Hashable, result: object) -> None:
        """A computation is over."""
        if self.failure is not None:
            return
        if isinstance(token, Judgement):
            self._reporting -= 1
            if not isinstance(result, Failure):
                self.recorder.judged(token, cast("Digest | None", result))
            else:
                self._warn(f"what a judgement rests on is not kept: {result.exception}")
        elif isinstance(result, Failure):
            what = token[0] if isinstance(token, tuple) else type(token).__name__.lower()
            error = f"{type(result.exception).__name__}: {' '.join(str(result.exception).split())}"
            self._fail(
                f"step {self.state.at.number}: '{what}' failed on this machine ({error[:300]}); look at the "
                "task's code and data and at the machine's memory, then start a new run"
            )
        elif isinstance(token, tuple):
            self._reporting -= 1
            self.report("progress", step=token[1], **_fields(result))
        else:
            self._feed(Computed(cast(Request, token), cast(Result, result)))

    def on_link(self, peer: int, up: bool) -> None:
        """A link came up or went down."""
        self.links.changed(peer, up)

    # -- what the state machine wants -------------------------------------------------------------------

    def _feed(self, event: Event) -> None:
        self._events.append(event)
        if len(self._events) > 1:
            return  # an effect of the event being processed brought it about: after that one
        while self._events:
            self.state, effects = handle(self.config, self.state, self._events[0])
            for effect in effects:
                self._perform(effect)
            self._events.popleft()

    def _perform(self, effect: fx.Effect) -> None:
        match effect:
            case fx.Persist():
                if self.journal is not None:
                    self.journal.append(effect.envelope)
            case fx.Send():
                self._send(effect)
            case fx.Fetch():
                self._fetch(effect)
            case fx.FetchModel():
                self._steps[effect.digest] = effect.step
                self.host.fetch(effect.source, effect.digest, self.backend.model_size)
            case fx.Offer():
                self._offer(effect)
            case fx.Discard():
                for digest in self.backend.store.discard(effect.step):
                    self._offered.pop(digest, None)
                    self.host.withdraw(digest)
                for digest in [digest for digest, step in self._steps.items() if step < effect.step]:
                    del self._steps[digest]
                    self.host.forget(digest)
            case fx.Compute():
                self._compute(effect.request)
            case fx.SetTimer():
                self.host.set_timer(effect.timer, effect.delay / 1000)
            case _:
                self._tell(effect)

    def _send(self, effect: fx.Send) -> None:
        if self.journal is not None:
            self.journal.flush()
        self.recorder.sent(self.state, effect.frame)
        self._send_to(effect.frame, effect.to)

    def _send_to(self, frame: Frame, to: tuple[int, ...]) -> None:
        data = encode_frame(frame)
        for peer in to:
            self.host.send(peer, data)

    def _offer(self, effect: fx.Offer) -> None:
        """Serve an object to these and to whom it was offered before: equal parts are one object."""
        data = self.backend.store.data(effect.digest)
        if data is None:
            return
        before = self._offered.get(effect.digest, frozenset())
        to = None if effect.to is None or before is None else before.union(effect.to)
        self._offered[effect.digest] = to
        self.host.offer(effect.digest, data, to)

    def _fetch(self, effect: fx.Fetch) -> None:
        data = self.backend.store.data(effect.digest)
        if data is not None and self.backend.store.keep(effect.digest, effect.step):
            self._feed(Held(effect.digest, len(data)))
            return
        self._steps[effect.digest] = effect.step
        self.host.fetch(effect.source, effect.digest, effect.size)

    def _compute(self, request: Request) -> None:
        self.host.submit(request, lambda: self.backend.compute(request))
        if isinstance(request, Apply):
            self._reporting += 1
            self.host.submit(("progress", request.step), lambda: self.backend.progress(request.step))
        if isinstance(request, Judge):
            self._keep_judgement(request)

    def _keep_judgement(self, request: Judge) -> None:
        """Keep what a judge computes from, right after it has (spec OPS-12)."""
        named = objects_of(request)  # a claim on one part needs that alone, and only that may be here
        held = {name: data for name in named if (data := self.backend.store.data(name)) is not None}
        judgement = self.recorder.judgement(self.state, request, tuple(held))

        def keep() -> Digest | None:
            for data in held.values():
                self.ledger.put_object(data)
            step = target_step(request)
            return None if step is None else self.ledger.put_object(self.backend.model_before(step))

        self._reporting += 1
        self.host.submit(judgement, keep)

    def _tell(self, effect: fx.Effect) -> None:
        match effect:
            case fx.Judgement():
                event = self._events[0]
                if effect.verdict is fx.Verdict.REJECT and isinstance(event, Received):
                    self._complain("rejected", event.sender, f"{effect.reason} ({effect.rule})")
            case fx.Entered():
                self.report("phase", epoch=effect.epoch, step=effect.step, phase=effect.phase.name)
            case fx.Certified():
                self.recorder.certified(self.state, effect.step)
                self.report("certified", step=effect.step)
            case fx.Drifted():
                self.report("drifted", step=effect.step, peers=list(effect.peers))
            case fx.Accused():
                self.report(
                    "accused",
                    step=effect.step,
                    accuser=effect.accuser,
                    accused=effect.accused,
                    reason=effect.reason,
                )
            case fx.Expelled():
                self.recorder.expelled(self.state, effect)
                self.report(
                    "expelled",
                    peer=effect.peer,
                    step=effect.step,
                    rule=effect.rule,
                    kind=effect.kind,
                    reason=effect.reason,
                    applied=effect.applied,
                )
            case fx.RosterChanged():
                self.recorder.roster_changed(self.state, effect)
                # Who was removed may still ask what became of the run (spec AGR-20).
                everybody = range(self.config.peers)
                self.host.set_members(frozenset(everybody).difference(self.state.banned))
                self.report("roster", epoch=effect.epoch, roster=list(effect.roster))
            case fx.Finished():
                self.report("finished", digest=effect.digest.hex())
            case fx.Released():
                self.released = True
            case fx.Halted():
                self.report("halted", step=self.state.at.number, reason=effect.reason)
            case fx.Stopped():
                self._fail(effect.reason)

    def _complain(self, event: str, peer: int, reason: str) -> None:
        """Report what a peer did wrong, ever more rarely: nobody fills the log by doing it again."""
        self._complaints[event, peer] += 1
        times = self._complaints[event, peer]
        if times & (times - 1) == 0:
            self.report(event, peer=peer, reason=reason, times=times)

    def _warn(self, reason: str) -> None:
        self.report("error", reason=reason)

    def _fail(self, reason: str) -> None:
        if self.failure is None:
            self.failure = reason
            self.report("stopped", reason=reason)


def _fields(result: object) -> dict[str, Any]:
    return dict(result) if isinstance(result, dict) else {}
