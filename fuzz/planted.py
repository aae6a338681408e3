"""Planted faults: each takes one rule of the protocol away, and names the search that must fail then.

A fault swaps functions of the core while it is planted, or shortens a time; the core itself has no switch.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

from attrs import evolve, field, frozen

from btard.statemachine import effects as fx
from btard.statemachine.delivery import bulk_of, phase_body
from btard.statemachine.effects import Judgement, Verdict
from btard.statemachine.form import unfit
from btard.statemachine.messages import (
    Accuse,
    Certificate,
    Chain,
    CommitClass,
    Enter,
    Envelope,
    Epoch,
    Evidence,
    EvidenceKind,
    Late,
    Message,
    Need,
    Stay,
)
from btard.statemachine.parameters import Timing
from btard.statemachine.phases import certify, is_accusation
from btard.statemachine.receive import position_of
from btard.statemachine.table import STEP_PHASES, Phase
from btard.statemachine.turn import Turn

Swap = Callable[[Any], Any]  # from the function that is there to the one that takes its place
CORE = "btard.statemachine."


@frozen
class Planted:
    """A rule taken away; ``shows`` names the configuration, or the tests, in which that must show."""

    name: str
    rule: str
    what: str
    shows: str
    swaps: Mapping[str, Swap] = field(factory=dict)  # "module:name" or "module:class.name"
    shorter: Mapping[str, int] = field(factory=dict)  # ticks off a time
    spared: str = ""  # why honest peers agree all the same, where they do

    def timing(self, timing: Timing) -> Timing:
        """Return the times with the fault in them."""
        return evolve(timing, **{name: getattr(timing, name) - less for name, less in self.shorter.items()})

    @contextmanager
    def planted(self) -> Iterator[None]:
        """Let the core have the fault."""
        with ExitStack() as stack:
            for target, swap in self.swaps.items():
                module, path = target.split(":")
                owner: Any = importlib.import_module(CORE + module)
                *classes, name = path.split(".")
                for one in classes:
                    owner = getattr(owner, one)
                stack.enter_context(mock.patch.object(owner, name, swap(getattr(owner, name))))
            yield


def nothing(original: Any) -> Any:
    """Do nothing where the core does something."""
    return lambda *args, **kwargs: None


# -- phases ---------------------------------------------------------------------------------------------


def _without_prev(original: Any) -> Any:
    def why_undelivered(turn: Turn, author: int) -> str | None:
        reason: str | None = original(turn, author)
        if reason is None or "follows other messages" not in reason:
            return reason
        body = phase_body(turn.phase_message(turn.state.phase, author))
        assert body is not None
        if reason := unfit(turn.state, author, body):
            return reason
        return None if turn.holds(*bulk_of(turn, author, body)) else "an object is not here"

    return why_undelivered


def _without_bulk(original: Any) -> Any:
    def why_undelivered(turn: Turn, author: int) -> str | None:
        reason: str | None = original(turn, author)
        return None if reason and "object" in reason else reason

    return why_undelivered


def _view_of_the_first(original: Any) -> Any:
    """The view leaves out the last member's message."""

    def view(turn: Turn, phase: Phase) -> bytes:
        envelope = turn.phase_message(phase, turn.state.roster[0])
        assert envelope is not None
        return envelope.hash

    return view


def _without_enter(original: Any) -> Any:
    def sign(turn: Turn, body: Any) -> Any:
        return None if isinstance(body, Enter) else original(turn, body)

    return sign


def _no_deferring(original: Any) -> Any:
    def file(turn: Turn, sender: int, envelope: Envelope, message: Message) -> Judgement:
        position = position_of(message.body)
        if position is not None and position > turn.state.position:
            return Judgement(Verdict.IGNORE, "not now")
        judgement: Judgement = original(turn, sender, envelope, message)
        return judgement

    return file


def _one_is_a_quorum(original: Any) -> Any:
    return lambda members: 1


def _not_accused_on(original: Any) -> Any:
    def relay(turn: Turn, sender: int, envelope: Envelope) -> None:
        if not is_accusation(envelope):
            original(turn, sender, envelope)

    return relay


def _lates_not_passed_on(original: Any) -> Any:
    def relay(turn: Turn, sender: int, envelope: Envelope) -> None:
        if envelope.message is None or not isinstance(envelope.message.body, Late):
            original(turn, sender, envelope)

    return relay


def _without_evidence(*kinds: EvidenceKind) -> Swap:
    def swap(original: Any) -> Any:
        def note_evidence(turn: Turn, *found: Evidence, chain: Chain | None = None) -> None:
            original(turn, *(one for one in found if one.kind not in kinds), chain=chain)

        return note_evidence

    return swap


def _not_when_frozen(original: Any) -> Any:
    def serve_pull(turn: Turn, sender: int, pull: Any) -> Judgement:
        if turn.state.phase not in STEP_PHASES:
            return Judgement(Verdict.IGNORE, "frozen")
        judgement: Judgement = original(turn, sender, pull)
        return judgement

    return serve_pull


def _leaves_at_once(original: Any) -> Any:
    def release(turn: Turn) -> None:
        if turn.state.phase is Phase.DONE and "finished" in turn.at.asked and "released" not in turn.at.asked:
            turn.set_step(asked=turn.at.asked | {"lingered"})
        original(turn)

    return release


# -- settling -------------------------------------------------------------------------------------------


def _files_when_frozen(original: Any) -> Any:
    def file(turn: Turn, sender: int, envelope: Envelope, message: Message) -> Judgement:
        position = position_of(message.body)
        if turn.state.phase is Phase.SETTLE and position == turn.state.position:
            turn.set(slots=turn.state.slots.insert(message.slot, envelope))
            return Judgement(Verdict.ACCEPT, "filed")
        judgement: Judgement = original(turn, sender, envelope, message)
        return judgement

    return file


def _applies_when_frozen(original: Any) -> Any:
    def deliver(turn: Turn) -> bool:
        moved: bool = original(turn)
        state = turn.state
        if state.phase is Phase.SETTLE and turn.at.phase is Phase.ACCUSE and state.model_step == turn.at.number:
            said = [turn.phase_message(Phase.ACCUSE, peer) for peer in state.roster]
            oks = tuple(env for env in said if env and _is_ok(env, turn))
            if len(oks) == len(state.roster) and not (state.last and state.last.step == turn.at.number):
                certify(turn, Certificate(oks))
        return moved

    return deliver


def _is_ok(envelope: Envelope, turn: Turn) -> bool:
    body = envelope.message.body if envelope.message else None
    return isinstance(body, Accuse) and body.claim is None and body.prev == turn.prev()


def _without_certificate(original: Any) -> Any:
    def freeze(turn: Turn) -> None:
        certificate = turn.state.certificate
        turn.set(certificate=None)
        original(turn)
        turn.set(certificate=certificate)

    return freeze


def _of_any_length(original: Any) -> Any:
    def receive_chain(turn: Turn, chain: Chain) -> Judgement:
        settle = turn.state.settle
        if settle is None or turn.state.phase is not Phase.SETTLE:
            judgement: Judgement = original(turn, chain)
            return judgement
        turn.set(settle=evolve(settle, rounds=0))
        judgement = original(turn, chain)
        if turn.state.settle is not None:
            turn.set(settle=evolve(turn.state.settle, rounds=settle.rounds))
        return judgement

    return receive_chain


def _not_passed_on(original: Any) -> Any:
    def accept(turn: Turn, klass: Any, chain: Chain) -> None:
        sent = len(turn.effects)
        original(turn, klass, chain)
        if chain.signatures:
            turn.effects[sent:] = [e for e in turn.effects[sent:] if not isinstance(e, fx.Send)]

    return accept


def _no_commits_before_freezing(original: Any) -> Any:
    def receive_chain(turn: Turn, chain: Chain) -> Judgement:
        running = turn.state.phase in (*STEP_PHASES, Phase.DONE)
        if running and chain.epoch == turn.state.epoch and isinstance(chain.klass, CommitClass):
            return Judgement(Verdict.IGNORE, "not frozen")
        judgement: Judgement = original(turn, chain)
        return judgement

    return receive_chain


def _no_freezing_by_chain(original: Any) -> Any:
    def receive_chain(turn: Turn, chain: Chain) -> Judgement:
        running = turn.state.phase in (*STEP_PHASES, Phase.DONE)
        if running and chain.epoch == turn.state.epoch and isinstance(chain.object, Evidence):
            return Judgement(Verdict.IGNORE, "not frozen")
        judgement: Judgement = original(turn, chain)
        return judgement

    return receive_chain


def _signatures_count_twice(original: Any) -> Any:
    def invalid(turn: Turn, chain: Chain) -> str | None:
        once = evolve(chain, signatures=tuple(dict(chain.signatures).items()))
        reason: str | None = original(turn, once)
        return reason

    return invalid


def _signatures_unchecked(original: Any) -> Any:
    def invalid(turn: Turn, chain: Chain) -> str | None:
        config = turn.config
        turn.config = evolve(config, verify=lambda key, content, signature: True)
        reason: str | None = original(turn, chain)
        turn.config = config
        return reason

    return invalid


def _records_not_passed_on(original: Any) -> Any:
    def enter_epoch(turn: Turn) -> bool:
        sent = len(turn.effects)
        entered: bool = original(turn)
        turn.effects[sent:] = [e for e in turn.effects[sent:] if not _others_record(e, turn.me)]
        return entered

    return enter_epoch


def _others_record(effect: fx.Effect, me: int) -> bool:
    frame = effect.frame if isinstance(effect, fx.Send) else None
    if not isinstance(frame, Envelope) or frame.message is None:
        return False
    return isinstance(frame.message.body, Epoch | Stay) and frame.author != me


def _one_fault_less(original: Callable[[int], int]) -> Callable[[int], int]:
    return lambda members: original(members) - 1


# -- parts that fail to come ----------------------------------------------------------------------------


def _needs_not_passed_on(original: Any) -> Any:
    def heed(turn: Turn, author: int, sender: int) -> None:
        sent = len(turn.effects)
        original(turn, author, sender)
        turn.effects[sent:] = [e for e in turn.effects[sent:] if not _is_need(e)]

    return heed


def _is_need(effect: fx.Effect) -> bool:
    frame = effect.frame if isinstance(effect, fx.Send) else None
    return isinstance(frame, Envelope) and frame.message is not None and isinstance(frame.message.body, Need)


def _timed_from_receipt(original: Any) -> Any:
    def heed(turn: Turn, author: int, sender: int) -> None:
        original(turn, author, sender)
        if turn.state.phase is Phase.COMMIT:
            turn.timer(turn.config.timing.t_publish, "need", turn.state.epoch, turn.at.number, author)

    return heed


def _heeded_in_reduce_alone(original: Any) -> Any:
    def heed(turn: Turn, author: int, sender: int) -> None:
        if turn.state.phase is Phase.REDUCE:
            original(turn, author, sender)

    return heed


def _published_to_one(original: Any) -> Any:
    def publish(turn: Turn, part: int) -> None:
        sent, asker = len(turn.effects), turn.at.aggregators[part]
        original(turn, part)
        turn.effects[sent:] = [
            evolve(e, to=(asker,)) if isinstance(e, fx.Send) else e for e in turn.effects[sent:]
        ]

    return publish


def _no_need_counts(original: Any) -> Any:
    return lambda turn: ()


def _catalogue() -> Iterator[Planted]:
    yield Planted(
        "no-freeze", "AGR-11", "a frozen peer still applies a step whose last ok comes", "last-ok",
        {"receive:_file": _files_when_frozen, "handle:deliver": _applies_when_frozen},
    )  # fmt: skip
    yield Planted(
        "certificate-no-input", "AGR-12", "a certificate is no input of the agreement", "last-ok",
        {"settle:_freeze": _without_certificate},
    )  # fmt: skip
    yield Planted(
        "chains-of-any-length", "AGR-13", "a chain may come in any round with any number of signatures",
        "last-ok", {"receive:receive_chain": _of_any_length},
    )  # fmt: skip
    yield Planted(
        "one-round-too-few", "AGR-14", "f rounds in place of f + 1", "last-ok",
        dict.fromkeys(("settle:faults", "ratify:faults"), _one_fault_less),
    )  # fmt: skip
    yield Planted(
        "chains-not-passed-on", "AGR-13", "who accepts a class does not say so", "last-ok",
        {"settle:_accept": _not_passed_on},
    )  # fmt: skip
    yield Planted(
        "commit-chain-not-kept", "AGR-17", "a commit chain before the freeze is dropped", "last-ok",
        {"receive:receive_chain": _no_commits_before_freezing},
    )  # fmt: skip
    yield Planted(
        "guilty-chain-does-not-freeze", "AGR-17", "only own finds freeze", "fault-shown",
        {"receive:receive_chain": _no_freezing_by_chain},
    )  # fmt: skip
    yield Planted(
        "signatures-count-twice", "AGR-13", "one member's signature may stand in a chain twice", "faked-chains",
        {"settle:_invalid": _signatures_count_twice},
    )  # fmt: skip
    yield Planted(
        "signatures-unchecked", "AGR-13", "a chain's signatures are not checked", "faked-chains",
        {"settle:_invalid": _signatures_unchecked},
    )  # fmt: skip
    yield Planted(
        "no-prev", "AGR-3", "a message counts whatever it follows", "equivocate-validate",
        {"delivery:why_undelivered": _without_prev},
    )  # fmt: skip
    yield Planted(
        "view-of-one", "AGR-2", "a view does not cover all messages", "equivocate-validate",
        {"turn:Turn.view": _view_of_the_first},
    )  # fmt: skip
    yield Planted(
        "no-bulk", "AGR-3", "an aggregate counts before it is here", "withhold-aggregate",
        {"delivery:why_undelivered": _without_bulk},
    )  # fmt: skip
    yield Planted(
        "pull-only-at-deadline", "AGR-5", "who is behind asks only when its time is over", "skewed-reduce",
        {"receive:pull_later": nothing},
    )  # fmt: skip
    yield Planted(
        "no-pull-on-other-views", "AGR-5", "nobody asks why a message follows other messages",
        "equivocate-commit",
        {"receive:pull_where_views_differ": nothing, "handle:pull_where_views_differ": nothing},
    )  # fmt: skip
    yield Planted(
        "pulls-unanswered-when-frozen", "AGR-6", "who is frozen serves nobody", "equivocate-commit",
        {"receive:serve_pull": _not_when_frozen},
        spared="all freeze within delta, and who signed ok holds what the commit chain's certificate rests on",
    )  # fmt: skip
    yield Planted(
        "no-enter", "AGR-5", "nobody says that it has entered a phase", "early-need",
        {"turn:Turn.sign": _without_enter},
    )  # fmt: skip
    yield Planted(
        "no-deferring", "AGR-4", "messages of the next phase are dropped", "skewed-reduce",
        {"receive:_file": _no_deferring},
    )  # fmt: skip
    yield Planted(
        "no-late", "AGR-7", "nobody says what did not come", "skewed-reduce",
        {"handle:phase_timed_out": nothing},
    )  # fmt: skip
    yield Planted(
        "late-unanswered", "AGR-8", "nobody forwards what a LATE names", "late-publish",
        {"receive:answer_late": nothing},
    )  # fmt: skip
    yield Planted(
        "late-not-answered-later", "AGR-8", "nobody forwards what came only after the LATE", "late-publish",
        {"receive:answer_earlier_lates": nothing},
    )  # fmt: skip
    yield Planted(
        "lates-not-passed-on", "AGR-8", "a LATE is not passed on", "skewed-reduce",
        {"receive:_relay": _lates_not_passed_on},
        spared="honest LATEs go to all and are a quorum by themselves; evidence goes to all as a chain",
    )  # fmt: skip
    yield Planted(
        "claims-not-passed-on", "AGR-8", "an accusation is not passed on", "gradient-claim",
        {"receive:_relay": _not_accused_on},
    )  # fmt: skip
    yield Planted(
        "one-is-a-quorum", "AGR-1", "one signature suffices", "skewed-reduce",
        {"receive:quorum": _one_is_a_quorum, "evidence:quorum": _one_is_a_quorum},
    )  # fmt: skip
    yield Planted(
        "equivocation-is-no-evidence", "AGR-9", "two messages for one slot prove nothing", "equivocate-commit",
        {"receive:note_evidence": _without_evidence(EvidenceKind.EQUIVOCATION)},
    )  # fmt: skip
    yield Planted(
        "wrong-opening-is-no-evidence", "AGR-9", "what does not open the COMMIT proves nothing",
        "equivocate-reveal", {"receive:note_evidence": _without_evidence(EvidenceKind.OPENING)},
    )  # fmt: skip
    yield Planted(
        "records-not-passed-on", "AGR-15", "who enters an epoch does not send the signatures on", "ratify-of-4",
        {"handle:enter_epoch": _records_not_passed_on},
        spared="with four peers a quorum of those who stay in is every honest one: its records came to all",
    )  # fmt: skip
    yield Planted(
        "leaves-at-once", "STP-11", "who has finished serves nobody", "at-the-end",
        {"handle:release": _leaves_at_once},
    )  # fmt: skip
    yield Planted(
        "need-not-passed-on", "STP-17", "a NEED is not passed on", "false-need",
        {"receive:heed": _needs_not_passed_on, "needs:heed": _needs_not_passed_on},
    )  # fmt: skip
    yield Planted(
        "need-timed-from-receipt", "STP-17", "a NEED counts before REDUCE too", "early-need",
        {"receive:heed": _timed_from_receipt},
    )  # fmt: skip
    yield Planted(
        "need-unheeded-after-reduce", "STP-18", "who has left REDUCE publishes nothing", "false-need",
        {"receive:heed": _heeded_in_reduce_alone},
        spared="whoever is still in REDUCE leaves it sooner than it would say LATE",
    )  # fmt: skip
    yield Planted(
        "published-to-the-asker-only", "STP-18", "a needed part is published to one only", "false-need",
        {"needs:publish": _published_to_one},
    )  # fmt: skip
    yield Planted(
        "needed-part-not-served-on", "STP-19", "who got a needed part does not serve it", "withhold-part",
        {"delivery:needed_objects": _no_need_counts},
    )  # fmt: skip
    yield Planted(
        "need-without-late", "STP-19", "nobody says that a needed part did not come", "withhold-part",
        {"handle:need_timed_out": nothing},
    )  # fmt: skip
    yield Planted(
        "no-need", "STP-16", "nobody says which parts it lacks", "withhold-part",
        {"handle:say_what_is_missing": nothing},
    )  # fmt: skip
    yield Planted(
        "w-bulk-too-short", "TIM-3", "w_bulk a tick too short", "withhold-commit", shorter={"w_bulk": 1},
        spared="an honest part that is called needed too early is published, which costs bulk but no place",
    )  # fmt: skip
    for name, rule, shows in (
        ("t_commit", "TIM-2", "skewed-commit"),
        ("t_reveal", "TIM-2", "skewed-reveal"),
        ("t_validate", "TIM-2", "skewed-validate"),
        ("t_reduce", "TIM-4", "skewed-reduce"),
        ("t_accuse", "TIM-5", "skewed-accuse"),
        ("t_publish", "TIM-3", "skewed-publish"),
        ("t_judge", "TIM-6", "hidden-claim"),
    ):
        what = f"{name} a tick too short"
        yield Planted(name.replace("_", "-") + "-too-short", rule, what, shows, shorter={name: 1})


CATALOGUE: dict[str, Planted] = {fault.name: fault for fault in _catalogue()}
