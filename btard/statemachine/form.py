"""Form and fit: what a message must look like by itself, and what it must look like here and now.

A message that breaks its *form* proves that by itself, given genesis and the roster of its epoch: it is
evidence. One that does not *fit* the step (its author's role, the state digest) is not delivered, so that
its author is late (spec MSG-3, STP-4).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from btard.consensus import row_norm
from btard.robust.encoding import NORM_SIZE, ROWS, SKETCH_SIZE, unpack_norms, unpack_rows
from btard.robust.tolerances import malformed_row
from btard.statemachine.config import faults, quorum
from btard.statemachine.messages import (
    Accuse,
    Body,
    Claim,
    ClaimKind,
    Commit,
    Epoch,
    Late,
    Need,
    NoVerdict,
    PhaseBody,
    Publish,
    Reduce,
    Reveal,
    Stay,
    Validate,
    Vote,
)
from btard.statemachine.parameters import Parameters
from btard.statemachine.state import State
from btard.statemachine.table import Phase


def malformed(parameters: Parameters, peers: int, roster: Sequence[int], author: int, body: Body) -> str | None:
    """Say what breaks the form of a message of an epoch with ``roster``; None if nothing does.

    ``peers`` is the size of the genesis roster.
    """
    match body:
        case Commit() if len(body.parts) not in (0, len(roster)):
            return f"{len(body.parts)} part hashes among {len(roster)} members"
        case Commit():
            return _malformed_late(parameters, roster, author, body.late)
        case Validate():
            return _malformed_report(roster, body.report) or _malformed_scalars(parameters, body)
        case Accuse() if body.claim is not None and body.claim.accused == author:
            return "accuses itself"
        case Late() if body.subject not in roster or not -1 <= body.part < len(roster):
            return "says that nobody's message is late"
        case Late() if body.part >= 0 and body.late_phase not in (Phase.REDUCE, Phase.ACCUSE):
            return "parts are published in REDUCE and ACCUSE only"
        case Need():
            return _malformed_need(roster, author, body)
        case Publish() if body.part >= len(roster):
            return f"publishes part {body.part} of {len(roster)}"
        case Vote():
            return _malformed_vote(peers, roster, body)
        case NoVerdict() if body.accuser not in roster:
            return "no member has raised that claim"
        case Epoch() | Stay() if sorted(set(body.roster)) != list(body.roster):
            return "its roster is not ascending"
        case Epoch() if not set(body.roster) < set(roster):
            return "its roster is no smaller part of the epoch's"
        case Stay() if not {author} <= set(body.roster) <= set(roster):
            return "its roster is no part of the epoch's with its author"
        case Stay() if len(body.roster) < quorum(len(roster)):  # what f members sign decides nothing
            return f"it lets {len(body.roster)} of {len(roster)} go on together"
    return None


def _malformed_late(
    parameters: Parameters, roster: Sequence[int], author: int, late: Sequence[int]
) -> str | None:
    if late and not parameters.late_limit:
        return "says who was late in a run that does not ask"
    if list(late) != sorted(set(late)) or not set(late) <= set(roster) - {author}:
        return "those that it says were late are no ascending other members"
    return None


def _malformed_report(roster: Sequence[int], report: Claim | None) -> str | None:
    if report is None:
        return None
    if report.kind is not ClaimKind.GRADIENT or report.accused in roster:
        return "its report is no gradient claim on a former member"
    return None


def _malformed_need(roster: Sequence[int], author: int, need: Need) -> str | None:
    if not set(need.subjects) <= set(roster) - {author} or sorted(set(need.subjects)) != list(need.subjects):
        return "needs parts of nobody else, or of one twice"
    if not 1 <= len(need.subjects) <= faults(len(roster)):
        return f"needs parts of {len(need.subjects)} peers, where {faults(len(roster))} may be faulty"
    return None


def _malformed_vote(peers: int, roster: Sequence[int], vote: Vote) -> str | None:
    if vote.raised not in (Phase.VALIDATE, Phase.ACCUSE) or vote.accuser not in roster:
        return "votes on what nobody has raised"
    named = (vote.guilty, *vote.accomplices)
    if (
        max(named) >= peers
        or len(set(named)) < len(named)
        or list(vote.accomplices) != sorted(vote.accomplices)
    ):
        return "names no peers, or one twice"
    if vote.guilty == vote.accuser and vote.accomplices:
        return "a false claim has no accomplices"
    if len(vote.accomplices) > faults(peers):
        return "names more accomplices than peers that may be faulty"
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


def unfit(state: State, author: int, body: PhaseBody) -> str | None:
    """Say why this message of the current phase does not fit the step; None if it does (spec STP-4)."""
    match body:
        case Commit():
            expected = len(state.roster) if author in state.at.contributors else 0
            if len(body.parts) != expected:
                return f"{len(body.parts)} part hashes where {expected} are due"
        case Reduce() if state.at.trains != bool(body.aggregate):
            return "no aggregate" if state.at.trains else "an aggregate in a step without contributors"
        case Validate():
            expected = scalars_due(state, author)
            if len(body.norms) != NORM_SIZE * expected:
                return f"scalars of {len(body.norms) // NORM_SIZE} parts where {expected} are due"
            if body.report not in (None, report_due(state, author)):
                return "its report is not on its own target"
        case Reduce() | Reveal() | Accuse():
            pass
    return None


def scalars_due(state: State, author: int) -> int:
    """Return of how many parts ``author`` owes scalars in the current step (spec STP-4)."""
    if author in state.at.contributors:
        return len(state.roster)
    duty = any(pair.validator == author for pair in state.at.pairs)
    return len(state.last.roster) if duty and state.last else 0


def report_due(state: State, author: int) -> Claim | None:
    """Return the report that ``author`` may carry in VALIDATE: on its target, if that is gone (spec VER-17)."""
    targets = (pair.target for pair in state.at.absent if pair.validator == author)
    return next((Claim(ClaimKind.GRADIENT, target, 0, b"") for target in targets), None)
