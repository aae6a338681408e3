"""The step as a table: the only moves that a peer can make (spec STP-1).

`spec/30-step.md` holds the same table; a test compares the two both ways.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum


class Phase(IntEnum):
    """Where a peer is; the first five take one signed message from every member."""

    COMMIT = 0
    REDUCE = 1
    REVEAL = 2
    VALIDATE = 3
    ACCUSE = 4
    SETTLE = 5
    RATIFY = 6
    DONE = 7
    HALTED = 8
    STOPPED = 9


class Trigger(StrEnum):
    """Why a peer moves."""

    DELIVERED = "all delivered"
    CERTIFICATE = "certificate"
    LAST_CERTIFICATE = "certificate of the last step"
    EVIDENCE = "evidence against a member"
    OUTCOME = "all rounds over and the outcome's step applied"
    RECORD = "a record that enough members signed"
    RECORD_AFTER_LAST = "a record that enough members signed, after the last step"
    HALT = "cannot go on in time"
    STOP = "cannot go on safely"


STEP_PHASES = (Phase.COMMIT, Phase.REDUCE, Phase.REVEAL, Phase.VALIDATE, Phase.ACCUSE)
_PRESENT = tuple(phase for phase in Phase if phase is not Phase.STOPPED)

TRANSITIONS: frozenset[tuple[Phase, Trigger, Phase]] = frozenset(
    {
        (Phase.COMMIT, Trigger.DELIVERED, Phase.REDUCE),
        (Phase.REDUCE, Trigger.DELIVERED, Phase.REVEAL),
        (Phase.REVEAL, Trigger.DELIVERED, Phase.VALIDATE),
        (Phase.VALIDATE, Trigger.DELIVERED, Phase.ACCUSE),
        (Phase.ACCUSE, Trigger.CERTIFICATE, Phase.COMMIT),
        (Phase.ACCUSE, Trigger.LAST_CERTIFICATE, Phase.DONE),
        *((phase, Trigger.EVIDENCE, Phase.SETTLE) for phase in (*STEP_PHASES, Phase.DONE)),
        (Phase.SETTLE, Trigger.OUTCOME, Phase.RATIFY),
        *((phase, Trigger.RECORD, Phase.COMMIT) for phase in _PRESENT),
        *((phase, Trigger.RECORD_AFTER_LAST, Phase.DONE) for phase in _PRESENT),
        *((phase, Trigger.HALT, Phase.HALTED) for phase in _PRESENT if phase is not Phase.HALTED),
        (Phase.HALTED, Trigger.LAST_CERTIFICATE, Phase.DONE),
        *((phase, Trigger.STOP, Phase.STOPPED) for phase in _PRESENT),
    }
)
