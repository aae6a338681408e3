"""One running peer: carries out what the state machine wants, over any transport (spec STP-2).

The same class runs over ZeroMQ in real time and over memory in virtual time. It decides nothing about the
protocol: it decodes, keeps the journal, moves objects, computes in the background, and reports.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from math import inf
from typing import Any, Final, cast

from attrs import define, field

from btard.errors import BtardError
from btard.ledger.entry import Judgement
from btard.ledger.file import Ledger
from btard.ledger.recorder import Recorder
from btard.node.computing import Compute, Computing, Figures
from btard.node.gathering import HELLO_INTERVAL, Gathering, Report
from btard.node.hello import Hello, decode_hello
from btard.node.journal import Journal, JournalError
from btard.node.kept_objects import KeptObjects
from btard.node.links import TIMER as LINKS_TIMER
from btard.node.links import Links
from btard.node.model_files import ModelFiles
from btard.node.objects import Objects
from btard.node.outstanding import Outstanding
from btard.node.recovery import Attempt, Recall, Recovery, remember
from btard.node.telling import Telling
from btard.statemachine import effects as fx
from btard.statemachine.compute import Load, Request, Result
from btard.statemachine.config import Config, quorum
from btard.statemachine.ending import stays_of
from btard.statemachine.events import Computed, Event, Fired, Held, Received, Resume, Start
from btard.statemachine.evidence import signature_holds
from btard.statemachine.handle import handle, initial
from btard.statemachine.messages import Body, Chain, Commit, Digest, Envelope, Frame
from btard.statemachine.state import State
from btard.statemachine.table import Phase
from btard.wire import WireError, decode_frame, encode_frame, max_frame
from btard_transports.interface import Failure, Host

MAX_EVENTS: Final = 20_000
"""In a journal since it was last begun anew, however long a peer is halted and asked (spec OPS-22)."""
_FRESH: Final = (Phase.COMMIT, Phase.DONE)  # with them, nothing of the step before has to be done again


@define(eq=False)
class Peer:
    """A handler of transport events around one state machine."""

    config: Config
    host: Host
    backend: Compute
    journal: Journal | None  # None only where nothing outlives the process: in simulations
    ledger: Ledger
    models: ModelFiles | None = field(default=None, kw_only=True)  # beside the journal
    kept: KeptObjects | None = field(default=None, kw_only=True)  # beside it, too
    hello: Hello
    differences: Callable[[Any], str]  # between this numerics class and another
    described: Callable[[Any], str]  # a numerics class in words
    report: Report
    tolerance: float | None = None  # how far other canaries may be off (spec GEN-7); None: not at all
    wait_limit: float = 60.0  # seconds to wait for the others before the start
    state: State = field(init=False)
    outstanding: Outstanding = field(factory=Outstanding)
    recovery: Recovery | None = None  # while what was under way before a crash is taken up
    failure: str | None = None  # why this peer stopped, in a line
    released: bool = False
    started: bool = False
    links: Links = field(init=False)
    gathering: Gathering = field(init=False)
    _recorder: Recorder = field(init=False)
    _objects: Objects = field(init=False)
    _computing: Computing = field(init=False)
    _telling: Telling = field(init=False)
    _events: deque[Event] = field(factory=deque)
    _shown: deque[tuple[tuple[int, ...], Frame]] = field(factory=deque)  # proofs for others' ledgers
    _answered: dict[int, tuple[bytes, float]] = field(factory=dict)  # whose hello was answered last, and when
    _returning: set[int] = field(factory=set)  # whose process is another one, and has only said hello so far

    def __attrs_post_init__(self) -> None:
        self.state = initial(self.config)
        self._recorder = Recorder(
            self.config, self.ledger, self._show, lambda reason: self.report("error", reason=reason)
        )

    @property
    def over(self) -> bool:
        """Whether this peer has nothing more to do, nor to report."""
        return self.failure is not None or (self.released and not self._computing.pending)

    # -- before the start -------------------------------------------------------------------------------

    def remember(self) -> None:
        """Take the state from the journal. Raises JournalError where it contradicts what was signed."""
        if self.journal is not None and self.journal.saved is not None:
            remembered = remember(self.config, self.journal)
            self.state, self.outstanding = remembered.state, remembered.outstanding
            self.recovery = Recovery(self)
            self._recorder.restore(self.state)
            self.failure = remembered.reason
            self.released = self.state.phase is Phase.DONE and "finished" in self.state.at.asked

    def recall_last(self) -> None:
        """Put the last model in place, where nothing else is to be done. Raises JournalError."""
        if self.recovery is not None:
            self.recovery.recall()

    def begin(self) -> None:
        """Say hello until everybody has answered, then start; or, after a crash, until so many have that it may
        go on (spec OPS-4).
        """
        self.links = Links(self.host, self.report)
        self._telling = Telling(self.report)
        self._objects = Objects(self.host, self.backend.store)
        self._computing = Computing(
            self.host, self.backend, self.models, self.ledger, self._recorder, self.report
        )
        others = [peer for peer in self.state.roster if peer != self.config.me]
        enough = len(others)
        if self.recovery is not None:
            self.host.set_members(frozenset(self.state.roster))
            enough = min(enough, quorum(len(others) + 1) - 1)
        self.gathering = Gathering(
            host=self.host,
            links=self.links,
            others=others,
            enough=enough,
            hello=self.hello,
            differences=self.differences,
            described=self.described,
            tolerance=self.tolerance,
            report=self.report,
            wait_limit=self.wait_limit if self.recovery is None else inf,
            max_early=max_frame(self.config.peers),
        )
        self.gathering.begin()

    def _greeted(self, sender: int, hello: Hello) -> None:
        if self.started and (reason := self.gathering.unwelcome(sender, hello)):
            self._telling.complain("again", sender, reason)
        elif hello.to != self.hello.start or hello.start != self._answered.get(sender, (b"", 0.0))[0]:
            # Also one that knows this process already, by an answer that was meant for a process before it.
            self._answer(sender, hello)
        if not self.started and self.gathering.greeted(sender, hello):
            self._start()

    def _answer(self, sender: int, hello: Hello) -> None:
        """Say hello to a process that does not know this one, after all that its key signed (spec OPS-4)."""
        now = self.host.now()
        if sender in self._answered and now < self._answered[sender][1] + HELLO_INTERVAL / 2:
            return
        self._answered[sender] = hello.start, now
        slots = self.state.slots
        own = [slots[slot] for slot in sorted(slots, key=repr) if slots[slot].author == sender]
        for envelope in (*own, *stays_of(self.state, sender)):
            self.host.send(sender, encode_frame(envelope))
        for origin, frame in self.gathering.early:
            if origin == sender:
                self.host.send(sender, frame)
        if self.started:
            for proof in self._recorder.proofs(self.state):
                self._send(fx.Send((sender,), proof))
        if self.gathering.answer(sender, hello) and self.started:
            self._returning.add(sender)

    def _start(self) -> None:
        self.started = True
        if self.recovery is not None:
            state = self.state
            self.report("returned", epoch=state.epoch, step=state.at.number, phase=state.phase.name)
            self.recovery.begin()
        else:
            self.gathering.report_classes()
            self.report("started", step=0)
            self.feed(Start(self.hello.model))
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
            return
        try:
            decoded = decode_frame(frame, self.config.peers)
        except WireError as error:
            if self.started:
                self._telling.complain("garbage", peer, str(error)[:200])
            else:
                self.gathering.keep(peer, frame)
            return
        if isinstance(decoded, Envelope) and decoded.author == self.config.me and self._is_unknown(decoded):
            self.fail(
                "this peer's key has signed a message that the journal in this folder does not hold: it is an "
                "older journal, or that of another start, and going on would ban this peer; start it with the "
                "folder in which it ran last (--out), or go on without it"
            )
        elif not self.started:
            self.gathering.keep(peer, frame)
        else:
            if peer in self._returning:  # a hello alone may come from a process that then does not go on
                self._returning.discard(peer)
                self.report("came_back", peer=peer)
            if isinstance(decoded, Chain):
                self._recorder.received(self.state, peer, decoded)
            self.feed(Received(peer, decoded))

    def _is_unknown(self, envelope: Envelope) -> bool:
        """Whether this peer's key signed this, but not as far as the journal knows (spec MSG-9)."""
        if self.journal is None or self.over:
            return False
        message = envelope.message
        if message is not None and self.journal.knows(message.slot, envelope.hash):
            return False
        return signature_holds(self.config, envelope)

    def on_bulk(self, digest: bytes, data: memoryview | bytearray) -> None:
        """A fetched object came; its size and digest hold."""
        if self.failure is None:
            step = self._objects.came(digest, data)
            if step is not None:
                self.hold(digest, data, step)

    def hold(self, name: Digest, data: memoryview | bytearray, step: int) -> None:
        """Let the state machine know of an object once it is on disk, if it is to be there (spec OPS-17)."""
        held = Held(name, len(data))
        if self.kept is None:
            self.feed(held)
            self._recover()
        else:
            self.kept.keep(step, name, data)
            self.host.store(held, self.kept.write)

    def _kept(self, held: Held, result: object) -> None:
        if isinstance(result, Failure):
            self._failed("keep", result)
        elif self.backend.store.data(held.digest) is not None:  # else nobody needs it any more
            self.feed(held)

    def resume(self, without: tuple[int, ...]) -> None:
        """The operator gives up these members (spec AGR-26)."""
        self.report("resumed", step=self.state.at.number, without=list(without))
        self.feed(Resume(without))

    def on_timer(self, timer: Hashable) -> None:
        """A timer ran out."""
        if self.failure is not None:
            return
        if timer == "hello":
            if not self.started:
                self.gathering.greet()
        elif timer == "waiting":
            reason = None if self.started else self.gathering.wait()
            if reason is not None:
                self.fail(reason)
        elif timer == LINKS_TIMER:
            self.links.due()
        elif isinstance(timer, tuple):
            self.feed(Fired(timer))

    def on_done(self, token: Hashable, result: object) -> None:
        """A computation is over."""
        if self.failure is not None:
            return
        match token:
            case Recall() if self.recovery is not None:
                if isinstance(result, Failure):
                    self._failed("recall", result)
                else:
                    self.recovery.recalled(cast(list[Attempt], result))
            case Attempt() if self.recovery is not None:
                self.recovery.done(token, result)
            case Held():
                self._kept(token, result)
            case Judgement():
                self._computing.judged(token, result)
            case Figures():
                if isinstance(result, Failure):
                    self._failed("progress", result)
                else:
                    self._computing.measured(token, result)
            case _:
                self.computed(cast(Request, token), result)
        self._recover()

    def computed(self, request: Request, result: object) -> None:
        """Take the result of a computation that the state machine asked for, or a Failure."""
        if isinstance(result, Failure):
            self._failed(type(request).__name__.lower(), result)
            return
        if isinstance(request, Load) and self.models is not None:
            self.models.wait()  # it replaces a model that the journal knows
        self.feed(Computed(request, cast(Result, result)))

    def _failed(self, what: str, failure: Failure) -> None:
        words = " ".join(str(failure.exception).split())
        if isinstance(failure.exception, BtardError):
            self.fail(words)
            return
        error = f"{type(failure.exception).__name__}: {words}"
        self.fail(
            f"step {self.state.at.number}: '{what}' failed on this machine ({error[:300]}); look at the "
            "task's code and data and at the machine's memory, then start this peer again"
        )

    def _recover(self) -> None:
        """Go on with what was under way before a crash, until that is done."""
        if self.recovery is not None and self.started and self.failure is None:
            self.recovery.look()
            if self.recovery is not None and self.recovery.over:
                self.recovery = None

    def on_link(self, peer: int, up: bool) -> None:
        """A link came up or went down."""
        self.links.changed(peer, up)

    # -- what the state machine wants -------------------------------------------------------------------

    def feed(self, event: Event) -> None:
        """Let an event happen: it is recorded first, then what follows is carried out."""
        self._events.append(event)
        if len(self._events) > 1:
            return  # an effect of the event being processed brought it about: after that one
        while self._events:
            state, effects = handle(self.config, self.state, self._events[0])
            self._note(self._events[0], state, effects)
            self.state = state
            for effect in effects:
                self.perform(effect)
            self._events.popleft()
            while self._shown and self.failure is None:
                self._send(fx.Send(*self._shown.popleft()))

    def _note(self, event: Event, state: State, effects: tuple[fx.Effect, ...]) -> None:
        """Keep the event, and what is signed on it, before anything comes of it (spec MSG-7, OPS-5).

        The ledger comes first: what a crash keeps out of the journal happens again, and is entered once.
        """
        for effect in effects:
            self._recorder.follow(state, effect)
        journal = self.journal
        if journal is None or (
            state is self.state and all(isinstance(effect, fx.Judgement) for effect in effects)
        ):
            return
        self.outstanding.follow(event, effects, state.at.number)
        fresh = any(isinstance(effect, fx.Entered) and effect.phase in _FRESH for effect in effects)
        if fresh or journal.events >= MAX_EVENTS:
            journal.snapshot(state, self.outstanding)
        else:
            journal.record(event)
        for effect in effects:
            if isinstance(effect, fx.Persist):
                journal.sign(effect.envelope)
                if self.models is not None and isinstance(_body(effect.envelope), Commit):
                    self.models.wait()

    # -- what the state machine wants, one by one -------------------------------------------------------

    def perform(self, effect: fx.Effect) -> None:
        """Carry out an effect."""
        match effect:
            case fx.Persist():
                pass  # it is in the journal already
            case fx.Send():
                self._send(effect)
            case fx.Fetch():
                data = self._objects.fetch(effect)
                if data is not None:
                    self.hold(effect.digest, data, effect.step)
            case fx.FetchModel():
                self._objects.fetch_model(effect, self.backend.model_size)
            case fx.Offer():
                if not self._objects.offer(effect) and self.recovery is not None:
                    self.recovery.offer(effect.digest)
            case fx.Discard():
                if self.recovery is not None:
                    self.recovery.discard(effect.step)
                if self.kept is not None:
                    self.kept.discard(effect.step)
                self._objects.discard(effect.step)
            case fx.Compute():
                if self.recovery is not None:
                    self.recovery.compute(effect.request)
                else:
                    self.submit(effect.request, effect.request)
                    self.follow_up(effect.request)
            case fx.SetTimer():
                self.host.set_timer(effect.timer, effect.delay / 1000)
            case fx.Judgement():
                event = self._events[0]
                if effect.verdict is fx.Verdict.REJECT and isinstance(event, Received):
                    self._telling.complain("rejected", event.sender, f"{effect.reason} ({effect.rule})")
            case fx.Released():
                self.released = True
            case fx.Stopped():
                self._keep_reason()
                self.fail(effect.reason)
            case _:
                self._telling.tell(self.state, effect)
        if isinstance(effect, fx.RosterChanged):
            # Who was removed may still ask what became of the run (spec AGR-20).
            everybody = range(self.config.peers)
            self.host.set_members(frozenset(everybody).difference(self.state.banned))

    def submit(self, token: Hashable, request: Request) -> None:
        """Compute aside; ``token`` comes back with the result."""
        self._computing.submit(token, request)

    def follow_up(self, request: Request) -> None:
        """Compute what is to be told or kept of a computation, right after it."""
        self._computing.follow_up(self.state, request)

    def _show(self, frame: Frame, to: tuple[int, ...]) -> None:
        """Send a proof for others' ledgers, once all that it holds is in the journal (spec MSG-7, OPS-13)."""
        self._shown.append((to, frame))

    def _send(self, effect: fx.Send) -> None:
        own = not isinstance(effect.frame, Envelope) or effect.frame.author == self.config.me
        if self.journal is not None and own:
            self.journal.flush()
            if self.kept is not None:
                self.kept.tidy()
        self._send_to(effect.frame, effect.to)

    def _send_to(self, frame: Frame, to: tuple[int, ...]) -> None:
        data = encode_frame(frame)
        for peer in to:
            self.host.send(peer, data)

    def _keep_reason(self) -> None:
        """Let another start find in the journal what stops this peer; a full disk hides it not (spec OPS-8)."""
        try:
            if self.journal is not None:
                self.journal.flush()
        except JournalError as error:
            self.report("error", reason=f"the next start will not know why this peer stops: {error}")

    def fail(self, reason: str) -> None:
        """Stop for good; the reason says what to do, in a line."""
        if self.failure is None:
            self.failure = reason
            self.report("stopped", reason=reason)


def _body(envelope: Envelope) -> Body | None:
    return envelope.message.body if envelope.message else None
