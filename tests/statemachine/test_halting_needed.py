"""Each rule of halting and coming back is needed: with it taken away, a test of them fails."""

from collections.abc import Callable

import pytest

from btard.statemachine.turn import ProtocolBug
from fuzz.planted_halting import HALTING
from tests.statemachine import test_halting_refused as refused
from tests.statemachine import test_staying as staying

BREAKS: dict[str, Callable[[], None]] = {
    "stays-with-a-quorum": lambda: refused.test_as_long_as_one_refuses_to_stay_all_wait(False),
    "record-of-too-few": lambda: refused.test_too_few_signatures_on_a_record_move_nobody((4,)),
    "record-unsigned": refused.test_a_signature_of_another_member_counts_for_nothing,
    "promises-nothing": staying.test_who_has_signed_stay_enters_by_no_outcome,
    "stays-unasked": lambda: refused.test_too_few_signatures_on_a_record_move_nobody(()),
    "stays-if-nobody-signed": lambda: staying.test_where_one_alone_signed_an_outcome_all_stay(4),
    "enters-without-the-step": refused.test_a_record_is_no_step_without_its_certificate,
    "answers-every-poll": refused.test_an_answer_is_given_again_after_delta,
    "reminds-nobody": refused.test_who_is_told_how_an_epoch_ended_and_stays_silent_is_out,
}


@pytest.mark.parametrize("name", HALTING)
def test_every_rule_of_halting_is_needed(name: str) -> None:
    refused.lasting_outage(), refused.behind()  # made by cores without the fault
    with HALTING[name].planted(), pytest.raises(AssertionError) as failed:
        BREAKS[name]()
    assert not isinstance(failed.value, ProtocolBug)
