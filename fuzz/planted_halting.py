"""Planted faults in halting, asking and coming back: they show where links break.

Each of HALTING fails a test, which tests/statemachine/test_halting_needed.py names; each of SEARCHED
fails a search with broken links (fuzz/search/halting.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from attrs import evolve

from btard.statemachine.config import quorum
from btard.statemachine.effects import Judgement
from btard.statemachine.ending import Ending, epoch_records, signers
from btard.statemachine.messages import Envelope, Poll
from btard.statemachine.table import Phase
from btard.statemachine.turn import Turn
from fuzz.planted import Planted, nothing

TESTS = "tests/statemachine/test_halting_needed.py"


def _quorum_stays(original: Any) -> Any:
    def enough(members: Sequence[int], ending: Ending, envelopes: Iterable[Envelope]) -> bool:
        stays = ending.together and len(signers(ending, envelopes)) >= quorum(len(members))
        return stays or bool(original(members, ending, envelopes))

    return enough


def _one_less(original: Any) -> Any:
    def enough(members: Sequence[int], ending: Ending, envelopes: Iterable[Envelope]) -> bool:
        envelopes = list(envelopes)
        return bool(envelopes) and bool(original(members, ending, (*envelopes, *_once_more(ending, envelopes))))

    return enough


def _once_more(ending: Ending, envelopes: Sequence[Envelope]) -> Iterator[Envelope]:
    """Yield what one more member could have signed."""
    authors = {envelope.author for envelope in envelopes}
    others = [peer for peer in ending.roster if peer not in authors]
    yield from (evolve(envelopes[0], author=peer) for peer in others[:1])


def _any_signature(original: Any) -> Any:
    def signature_holds(config: Any, envelope: Envelope) -> bool:
        return True

    return signature_holds


def _takes_all_for_halted(original: Any) -> Any:
    def stay(turn: Turn) -> bool:
        polls = turn.state.polls
        alike = Poll(turn.state.epoch, turn.state.following, int(Phase.HALTED))
        for peer in turn.others() if turn.state.phase is Phase.HALTED else ():
            turn.set(polls=turn.state.polls.insert(peer, alike))
        signed: bool = original(turn)
        turn.set(polls=polls)
        return signed

    return stay


def _promises_nothing(original: Any) -> Any:
    return lambda state, me, ending: False


def _as_of_old(original: Any) -> Any:
    """Sign STAY only where nobody signed an outcome."""

    def stay(turn: Turn) -> bool:
        signed = any(epoch_records(turn.state, peer) for peer in turn.state.roster)
        return not signed and bool(original(turn))

    return stay


def _stands_anywhere(original: Any) -> Any:
    def catch_up(turn: Turn, ending: Ending) -> bool:
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
        "stays-with-a-quorum", "AGR-15", "a quorum of signatures leaves everybody in", TESTS,
        {"adoption:enough": _quorum_stays},
    )  # fmt: skip
    yield Planted(
        "record-of-too-few", "AGR-15", "a record counts with one signature less", TESTS,
        {"adoption:enough": _one_less},
    )  # fmt: skip
    yield Planted(
        "record-unsigned", "MSG-2", "a record counts whoever signed it", TESTS,
        {"receive:signature_holds": _any_signature},
    )  # fmt: skip
    yield Planted(
        "promises-nothing", "AGR-27", "who has signed STAY enters by an outcome, too", TESTS,
        {"adoption:bound": _promises_nothing},
    )  # fmt: skip
    yield Planted(
        "stays-unasked", "AGR-23", "a halted peer signs before the others say that they are halted", TESTS,
        {"handle:stay": _takes_all_for_halted},
    )  # fmt: skip
    yield Planted(
        "stays-if-nobody-signed", "AGR-23", "where somebody has signed an outcome, nobody signs STAY", TESTS,
        {"handle:stay": _as_of_old},
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
    return lambda ending, envelopes: {envelope.author: envelope for envelope in envelopes}


def _claims_to_have_gone_back(original: Any) -> Any:
    return lambda turn: True


def _for_the_search() -> Iterator[Planted]:
    yield Planted(
        "left-out-count", "AGR-15", "who is left out of a record counts among its signers", "two-sides",
        {"ending:signers": _all_signatures},
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
