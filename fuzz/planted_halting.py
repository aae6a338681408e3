"""Planted faults in halting, asking and coming back: they show where links break.

Each of HALTING fails a test of tests/statemachine/test_halting_refused.py, which names it; each of SEARCHED
fails a search with broken links (fuzz/search/halting.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from attrs import evolve

from btard.statemachine.config import quorum
from btard.statemachine.effects import Judgement
from btard.statemachine.messages import Envelope, Epoch, Poll
from btard.statemachine.table import Phase
from btard.statemachine.turn import Turn
from fuzz.planted import Planted, nothing

TESTS = "tests/statemachine/test_halting_refused.py"


def _quorum_heals(original: Any) -> Any:
    return lambda turn, record: quorum(len(turn.state.roster))


def _one_less(original: Any) -> Any:
    def needed(turn: Turn, record: Epoch) -> int:
        members: int = original(turn, record)
        return members - 1

    return needed


def _any_signature(original: Any) -> Any:
    def signature_holds(config: Any, envelope: Envelope) -> bool:
        return True

    return signature_holds


def _forgets_its_record(original: Any) -> Any:
    def heal(turn: Turn) -> bool:
        state = turn.state
        slot = ("epoch", state.epoch, turn.me)
        if state.phase is Phase.HALTED and slot in state.slots and state.outcome is not None:
            turn.set(slots=state.slots.remove(slot), outcome=None)
        healed: bool = original(turn)
        return healed

    return heal


def _takes_all_for_halted(original: Any) -> Any:
    def heal(turn: Turn) -> bool:
        polls = turn.state.polls
        alike = Poll(turn.state.epoch, turn.state.following, int(Phase.HALTED))
        for peer in turn.others() if turn.state.phase is Phase.HALTED else ():
            turn.set(polls=turn.state.polls.insert(peer, alike))
        healed: bool = original(turn)
        turn.set(polls=polls)
        return healed

    return heal


def _stands_anywhere(original: Any) -> Any:
    def catch_up(turn: Turn, record: Epoch) -> bool:
        return True

    return catch_up


def _answers_each(original: Any) -> Any:
    def receive_poll(turn: Turn, sender: int, question: Poll) -> Judgement:
        turn.set(answered=frozenset())
        judgement: Judgement = original(turn, sender, question)
        return judgement

    return receive_poll


def _catalogue() -> Iterator[Planted]:
    yield Planted(
        "heals-with-a-quorum", "AGR-23", "a quorum of signatures leaves everybody in", TESTS,
        {"adoption:_needed": _quorum_heals},
    )  # fmt: skip
    yield Planted(
        "record-of-too-few", "AGR-15", "a record counts with one signature less", TESTS,
        {"adoption:_needed": _one_less},
    )  # fmt: skip
    yield Planted(
        "record-unsigned", "MSG-2", "a record counts whoever signed it", TESTS,
        {"receive:signature_holds": _any_signature},
    )  # fmt: skip
    yield Planted(
        "signs-a-second-record", "AGR-23", "who has signed an outcome signs that all stay in, too", TESTS,
        {"handle:heal": _forgets_its_record},
    )  # fmt: skip
    yield Planted(
        "heals-unasked", "AGR-23", "a halted peer signs before the others say that they are halted", TESTS,
        {"handle:heal": _takes_all_for_halted},
    )  # fmt: skip
    yield Planted(
        "enters-without-the-step", "AGR-22", "a record is entered without applying its last step", TESTS,
        {"adoption:catch_up": _stands_anywhere},
    )  # fmt: skip
    yield Planted(
        "answers-every-poll", "AGR-20", "a poll is answered however soon it comes again", TESTS,
        {"receive:receive_poll": _answers_each},
    )  # fmt: skip
    yield Planted(
        "reminds-nobody", "AGR-21", "nobody tells a member that is behind how the epoch ended", TESTS,
        {"handle:remind": nothing},
    )  # fmt: skip


def _all_signatures(original: Any) -> Any:
    return lambda record, envelopes: envelopes


def _claims_to_have_gone_back(original: Any) -> Any:
    return lambda turn: True


def _for_the_search() -> Iterator[Planted]:
    yield evolve(HALTING["signs-a-second-record"], shows="lied-to")
    yield Planted(
        "left-out-count", "AGR-15", "who is left out of a record counts among its signers", "two-sides",
        {"adoption:_counted": _all_signatures},
    )  # fmt: skip
    yield Planted(
        "certificate-unused", "AGR-17", "a certificate that came before a halt is not used", "halted-askew",
        {"handle:certify_what_is_here": nothing},
    )  # fmt: skip
    yield Planted(
        "no-answers", "AGR-20", "nobody answers a poll", "halted-mute", {"halting:_answer": nothing},
    )  # fmt: skip
    yield Planted(
        "no-brake", "AGR-24", "lateness alone removes any number", "halted-deaf", {"ratify:_braked": nothing},
    )  # fmt: skip
    yield Planted(
        "nothing-taken-back", "AGR-22", "a step that the record does not have stays applied", "one-step-ahead",
        {"catching_up:_roll_back": _claims_to_have_gone_back},
    )  # fmt: skip


HALTING: dict[str, Planted] = {fault.name: fault for fault in _catalogue()}
SEARCHED: dict[str, Planted] = {fault.name: fault for fault in _for_the_search()}
