"""The state machine: `handle(config, state, event)` returns the next state and what to do.

Pure and deterministic: no clock, socket, thread, random generator or tensor. Frames from the network never
make it raise; a `ProtocolBug` is a fault of this program.
"""

from __future__ import annotations

from btard.statemachine import effects as fx
from btard.statemachine.adoption import enter_epoch
from btard.statemachine.catching_up import certify_what_is_here
from btard.statemachine.coming_back import came_back
from btard.statemachine.compute import (
    Aggregate,
    Aggregated,
    Applied,
    Apply,
    Judge,
    Judged,
    Load,
    Loaded,
    Prepare,
    Prepared,
    Request,
    Result,
    Save,
    Saved,
    Sketch,
    Sketched,
    Verified,
    Verify,
)
from btard.statemachine.config import Config
from btard.statemachine.delivery import deliver, fetch_what_came_early, held
from btard.statemachine.drift import loaded, saved
from btard.statemachine.effects import Effect, Timer
from btard.statemachine.events import Computed, Event, Fired, Held, Received, Resume, Returned, Start
from btard.statemachine.halting import may_ask_again, poll, remind, watched
from btard.statemachine.judgement import (
    judge_delivered,
    judge_timed_out,
    judged,
    judged_report,
    verdicts,
)
from btard.statemachine.messages import Bulk
from btard.statemachine.needs import heed_what_came_early, say_what_is_missing
from btard.statemachine.phases import applied, enter_commit, finish, leave, lingered, prepare, release, verify
from btard.statemachine.pulls import pull_now, pull_where_views_differ
from btard.statemachine.ratify import outcome_due, ratify, round_over, unratified, unsettled
from btard.statemachine.receive import receive
from btard.statemachine.results import aggregate, aggregated, counts, prepared, sketched, verified
from btard.statemachine.roles import next_step
from btard.statemachine.settle import note_evidence
from btard.statemachine.state import NOTHING, State, Step
from btard.statemachine.staying import give_up, stay
from btard.statemachine.table import STEP_PHASES, Phase
from btard.statemachine.timeouts import need_timed_out, phase_timed_out, publishing_timed_out
from btard.statemachine.turn import Turn

__all__ = ["handle", "initial"]


def initial(config: Config) -> State:
    """Return the state before `Start`: epoch 0 with the genesis roster, before step 0."""
    return State(
        phase=Phase.COMMIT,
        epoch=0,
        rosters=(tuple(range(config.peers)),),
        first_step=0,
        opening=config.run,
        at=Step(0),
        model_step=0,
        model_digest=NOTHING,
    )


def handle(config: Config, state: State, event: Event) -> tuple[State, tuple[Effect, ...]]:
    """Process one event; return the new state, and the effects to carry out in their order (spec STP-2)."""
    turn = Turn(config, state)
    match event:
        case Start():
            turn.set(model_digest=event.model_digest)
            turn.emit(fx.Entered(0, 0, Phase.COMMIT))
            next_step(turn, 0, ())
            enter_commit(turn)
        case Received():
            receive(turn, event.sender, event.frame)
        case Held():
            held(turn, Bulk(event.digest, event.size))
        case Computed():
            _computed(turn, event.request, event.result)
        case Fired():
            _fired(turn, event.timer)
        case Resume():
            give_up(turn, event.without)
        case Returned():
            came_back(turn)
    _advance(turn)
    return turn.state, tuple(turn.effects)


def _advance(turn: Turn) -> None:
    """Make all moves that the state allows, to a fixed point."""
    moved = True
    while moved and turn.state.phase is not Phase.STOPPED:
        phase = turn.state.phase
        aggregate(turn)
        verify(turn)
        moved = deliver(turn)
        if turn.state.phase in STEP_PHASES and leave(turn):
            moved = True
        moved = judge_delivered(turn) or moved
        note_evidence(turn, *verdicts(turn))
        release(turn)
        moved = ratify(turn) or certify_what_is_here(turn) or stay(turn) or moved
        if enter_epoch(turn):
            moved = True
            _replay(turn)
        if turn.state.phase is not phase and turn.state.phase in STEP_PHASES:
            pull_where_views_differ(turn)
            if turn.state.phase is Phase.REDUCE:
                heed_what_came_early(turn)
            if turn.state.phase is Phase.ACCUSE:
                fetch_what_came_early(turn)


def _replay(turn: Turn) -> None:
    """In the new epoch: use evidence left from earlier ones, then what was deferred (spec AGR-16)."""
    evidence, deferred = turn.state.evidence, turn.state.deferred
    turn.set(evidence=type(evidence)(), deferred=())
    note_evidence(turn, *(evidence[peer] for peer in sorted(evidence)))
    for sender, frame in deferred:
        receive(turn, sender, frame)


def _computed(turn: Turn, request: Request, result: Result) -> None:
    if not counts(turn.state, request):
        return
    match request, result:
        case Apply(), Applied():
            applied(turn, request.step, result.digest)
        case Save(), Saved():
            saved(turn, result)
        case Load(), Loaded():
            loaded(turn, request, result)
            prepare(turn)
            finish(turn)
        case Judge(raised=Phase.VALIDATE), Judged():
            judged_report(turn, request, result)
        case Prepare() | Aggregate() | Sketch() | Verify() | Judge(), _:
            _computed_for_phase(turn, request, result)


def _computed_for_phase(turn: Turn, request: Request, result: Result) -> None:
    match turn.state.phase, request, result:
        case Phase.COMMIT, Prepare(), Prepared():
            prepared(turn, result)
        case Phase.REDUCE, Aggregate(), Aggregated():
            aggregated(turn, result)
        case Phase.VALIDATE, Sketch(), Sketched():
            sketched(turn, result)
        case Phase.ACCUSE, Verify(), Verified():
            verified(turn, result)
        case Phase.ACCUSE, Judge(), Judged():
            judged(turn, request.claim, result)


def _fired(turn: Turn, timer: Timer) -> None:
    state = turn.state
    place = (state.epoch, turn.at.number, int(state.phase))
    match timer:
        case ("phase", *where) if tuple(where) == place:
            phase_timed_out(turn)
        case ("publish", *where) if tuple(where) == place[:2] and state.phase is Phase.ACCUSE:
            publishing_timed_out(turn)
        case ("bulk", *where) if tuple(where) == place[:2] and state.phase is Phase.REDUCE:
            say_what_is_missing(turn)
        case ("need", epoch, step, int(author)) if (epoch, step) == place[:2] and state.phase is Phase.REDUCE:
            need_timed_out(turn, author)
        case ("judge", epoch, step, int(accuser)) if (epoch, step) == place[:2]:
            if state.phase is Phase.ACCUSE:
                judge_timed_out(turn, accuser)
        case ("pull", epoch, step, phase, int(author)) if (epoch, step, phase) == place:
            pull_now(turn, author, state.position)
        case ("settle", epoch, int(number)) if epoch == state.epoch:
            round_over(turn, number)
        case ("outcome", epoch) if epoch == state.epoch:
            outcome_due(turn)
        case ("watch", *where) if tuple(where) == place:
            watched(turn)
        case ("ratify", epoch) if epoch == state.epoch and state.phase is Phase.RATIFY:
            unratified(turn)
        case ("settled", epoch) if epoch == state.epoch and state.phase is Phase.SETTLE:
            unsettled(turn)
        case ("poll", epoch) if epoch == state.epoch:
            poll(turn)
        case ("answered", int(sender)):
            may_ask_again(turn, sender)
        case ("remind", epoch) if epoch == state.epoch:
            remind(turn)
        case ("linger", epoch) if epoch == state.epoch and state.phase is Phase.DONE:
            lingered(turn)
