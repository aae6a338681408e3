"""Members whose model is not the certified one: they sit out and fetch it (spec STP-5, STP-12 to STP-14)."""

from __future__ import annotations

from collections import Counter

from btard.statemachine import effects as fx
from btard.statemachine.checks import commit_of
from btard.statemachine.compute import Apply, Load, Loaded, Save, Saved
from btard.statemachine.config import faults, quorum
from btard.statemachine.messages import Commit, Digest
from btard.statemachine.table import Phase
from btard.statemachine.turn import Turn


def set_drifted_aside(turn: Turn) -> bool:
    """On leaving COMMIT: take whoever drifted out of the step's roles; say whether there is a certified model.

    Whoever finds itself odd fetches the certified model, everybody else serves it.
    """
    roster, at = turn.state.roster, turn.at
    models = {peer: commit_of(turn, peer).model for peer in roster}
    certified, count = Counter(models.values()).most_common(1)[0]
    if count < quorum(len(roster)):
        return False
    drifted = tuple(peer for peer in roster if models[peer] != certified)
    if drifted:
        turn.set_step(
            drifted=drifted,
            contributors=tuple(peer for peer in at.contributors if peer not in drifted),
            pairs=tuple(pair for pair in at.pairs if pair.validator not in drifted),
            absent=tuple(pair for pair in at.absent if pair.validator not in drifted),
        )
        turn.emit(fx.Drifted(at.number, drifted))
        if turn.me in drifted:
            turn.set_step(own_parts=())
        else:
            turn.compute(Save(at.number, certified))
    _mend(turn, certified, drifted)
    return True


def _mend(turn: Turn, certified: Digest, drifted: tuple[int, ...]) -> None:
    """Fetch the certified model, unless it is here or was asked for in an epoch that ended before it came."""
    state = turn.state
    if certified == state.model_digest:
        turn.set(loading=None)
    if certified in (state.model_digest, state.loading):
        return
    turn.set(loading=certified)
    holders = [peer for peer in turn.others() if peer not in drifted]
    for source in holders[: faults(len(turn.state.roster)) + 1]:  # one of them at least is honest
        turn.emit(fx.FetchModel(source, certified, turn.at.number))


def saved(turn: Turn, result: Saved) -> None:
    """Serve the certified model to whoever drifted."""
    turn.emit(fx.Offer(result.digest, None))


def load_what_came(turn: Turn, name: Digest) -> None:
    """Take over the certified model, if it is what came."""
    if name == turn.state.loading:
        turn.compute(Load(turn.state.model_step, name))


def loaded(turn: Turn, request: Load, result: Loaded) -> None:
    """Go on with the certified model: apply what has been certified meanwhile."""
    if result.digest != request.digest:
        turn.stop("the model that the others hold did not come out right here: check this machine's memory")
        return
    turn.set(model_digest=result.digest)
    if result.digest == turn.state.loading:
        unapplied = turn.state.unapplied
        turn.set(loading=None, unapplied=None)
        if unapplied is not None:
            apply(turn, *unapplied)


def apply(turn: Turn, step: int, aggregates: tuple[Digest, ...]) -> None:
    """Have the model updated, as soon as it is the certified one; without aggregates it stays as it is."""
    if turn.state.loading is not None:
        turn.set(unapplied=(step, aggregates))
    elif aggregates:
        turn.compute(Apply(step, aggregates))
    else:
        turn.set(model_step=step + 1)


def drifts_again(turn: Turn, author: int, commit: Commit) -> bool:
    """Whether a COMMIT is not to be delivered since its author drifted lately, and may again (spec STP-14).

    As long as no q COMMITs that are here carry the same model, nobody can tell.
    """
    drifted = turn.state.drifts.get(author)
    if drifted is None or turn.at.number - drifted >= turn.config.parameters.window:
        return False
    here = [turn.phase_message(Phase.COMMIT, peer) for peer in turn.state.roster]
    bodies = [envelope.message.body for envelope in here if envelope and envelope.message]
    alike = sum(isinstance(body, Commit) and body.model == commit.model for body in bodies)
    return alike < quorum(len(turn.state.roster))
