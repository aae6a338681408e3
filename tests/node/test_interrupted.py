"""A signal is noted, and ends a run between two events."""

import os
import signal

import pytest

from btard.node.interrupted import Interrupted


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_raises_where_it_is_asked_for_and_nowhere_else(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with Interrupted() as interrupted:
        interrupted.check()
        os.kill(os.getpid(), number)  # nothing is raised here
        with pytest.raises(KeyboardInterrupt):
            interrupted.check()
    assert signal.getsignal(number) is before


def test_the_second_signal_does_not_wait() -> None:
    with Interrupted():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
