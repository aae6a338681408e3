"""Form and fit: what a message must look like by itself, and what it must look like here and now.

A message that breaks its *form* proves that by itself, given genesis and the roster of its epoch: it is
evidence. One that does not *fit* the step (its author's role, the state digest) is not delivered, so that
its author is late (spec MSG-3, STP-4).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from btard.consensus import row_norm
from btard.hashing import digest
from btard.robust.encoding import NORM_SIZE, ROWS, SKETCH_SIZE, unpack_norms, unpack_rows
from btard.robust.tolerances import malformed_row
from btard.statemachine.messages import (
    Accuse,
    Body,
    Commit,
    Digest,
    Epoch,
    Late,
    NoVerdict,
    PhaseBody,
    Publish,
    Reduce,
    Reveal,
    Validate,
    Vote,
)
from btard.statemachine.parameters import Parameters
from btard.statemachine.state import State
from btard.statemachine.table import Phase


def malformed(parameters: Parameters, roster: Sequence[int], author: int, body: Body) -> str | None:
    """Say what breaks the form of a message of an epoch with ``roster``; None if nothing does."""
    match body:
        case Commit() if len(body.parts) not in (0, len(roster)):
            return f"{len(body.parts)} part hashes among {len(roster)} members"
        case Validate():
            return _malformed_scalars(parameters, body)
        case Accuse() if body.claim is not None and body.claim.accused == author:
            return "accuses itself"
        case Late() if body.subject not in roster or not -1 <= body.part < len(roster):
            return "says that nobody's message is late"
        case Late() if body.part >= 0 and body.late_phase != Phase.ACCUSE:
            return "parts are published in ACCUSE only"
        case Publish() if body.part >= len(roster):
            return f"publishes part {body.part} of {len(roster)}"
        case Vote() if not {body.accuser, body.guilty} <= set(roster):
            return "votes on no member"
        case NoVerdict() if body.accuser not in roster:
            return "no member has raised that claim"
        case Epoch() if sorted(set(body.roster)) != list(body.roster) or not set(body.roster) <= set(roster):
            return "its roster is no subset of the epoch's"
    return None


def _malformed_scalars(parameters: Parameters, body: Validate) -> str | None:
    parts, rest = divmod(len(body.sketches), SKETCH_SIZE)
    if rest or len(body.norms) != NORM_SIZE * parts:
        return "sketches and norms of different numbers of parts"
    rows = unpack_rows(body.sketches)
    for part, norm in enumerate(unpack_norms(body.norms)):
        if not (math.isfinite(norm) and norm >= 0):
            return f"norm of part {part} is {norm}"
        bound = min(parameters.tau, norm)
        for row in rows[ROWS * part : ROWS * (part + 1)]:
            # No row of 16 is longer than four times its largest entry: most rows need no root.
            if not all(abs(entry) <= bound for entry in row) and malformed_row(
                row_norm(row), norm, parameters.tau
            ):
                return f"a sketch row of part {part} is longer than its norm allows"
    return None


def state_digest(state: State) -> Digest:
    """Return the digest that every COMMIT of the step must carry (spec STP-5)."""
    return digest(
        "state",
        state.at.number.to_bytes(8, "little"),
        state.model_digest,
        b"".join(peer.to_bytes(4, "little") for peer in state.roster),
        state.election_value,
    )


def unfit(state: State, author: int, body: PhaseBody) -> str | None:
    """Say why this message of the current phase does not fit the step; None if it does (spec STP-4)."""
    drawing = state.at.number == 0
    match body:
        case Commit():
            expected = len(state.roster) if author in state.at.contributors else 0
            if len(body.parts) != expected:
                return f"{len(body.parts)} part hashes where {expected} are due"
            if body.digest != state_digest(state):
                return "its state digest differs from mine"
        case Reduce() if drawing == bool(body.aggregate):
            return "an aggregate in step 0" if drawing else "no aggregate"
        case Validate():
            expected = scalars_due(state, author)
            if len(body.norms) != NORM_SIZE * expected:
                return f"scalars of {len(body.norms) // NORM_SIZE} parts where {expected} are due"
        case Reduce() | Reveal() | Accuse():
            pass
    return None


def scalars_due(state: State, author: int) -> int:
    """Return of how many parts ``author`` owes scalars in the current step (spec STP-4)."""
    if author in state.at.contributors:
        return len(state.roster)
    duty = any(pair.validator == author for pair in state.at.pairs)
    return len(state.last.roster) if duty and state.last else 0
