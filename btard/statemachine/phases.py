"""The step: enter a phase, do its work, send its message, leave it (spec STP)."""

from __future__ import annotations

from attrs import evolve

from btard.robust.encoding import unpack_norms
from btard.statemachine import effects as fx
from btard.statemachine.checks import (
    aggregate_of,
    commit_of,
    gradient_check,
    part_check,
    part_size,
    parts_of,
    scalars_of,
    target_of,
    validator_check,
    work_of,
)
from btard.statemachine.coming_back import back_in_step
from btard.statemachine.compute import Prepare, Sketch, Verify, Work
from btard.statemachine.disputes import disputed_parts, median
from btard.statemachine.drift import apply, set_drifted_aside
from btard.statemachine.election import gradient_seed
from btard.statemachine.form import report_due
from btard.statemachine.lateness import note_who_was_late
from btard.statemachine.messages import (
    Accuse,
    Bulk,
    Certificate,
    CommitClass,
    Digest,
    Enter,
    Envelope,
    Publish,
    Reveal,
    Validate,
    publish_slot,
)
from btard.statemachine.randomness import Purpose, Secrets, combine
from btard.statemachine.reports import all_decided
from btard.statemachine.roles import last_number, next_step
from btard.statemachine.state import Alarm, Before, Record
from btard.statemachine.table import Phase, Trigger
from btard.statemachine.turn import ProtocolBug, Turn

# -- entering -------------------------------------------------------------------------------------------


def enter_commit(turn: Turn) -> None:
    """Start the time-outs of COMMIT and, once the model is up to date, the gradient."""
    _time_out(turn, turn.config.timing.t_commit, turn.config.timing.c_commit)
    prepare(turn)


def prepare(turn: Turn) -> None:
    """Ask for the gradient, and for the target's, once the model stands before this step."""
    state = turn.state
    ready = state.model_step == turn.at.number
    if state.phase is not Phase.COMMIT or not ready or "prepare" in turn.at.asked:
        return
    own = None
    if turn.me in turn.at.contributors:
        own = own_work(turn)
    ask(turn, "prepare")
    turn.compute(Prepare(state.epoch, turn.at.number, own, _audited_work(turn) or _reported_work(turn)))


def _audited_work(turn: Turn) -> Work | None:
    """The gradient that this peer recomputes as a validator, if it is one."""
    target, last = target_of(turn.state, turn.me), turn.state.last
    return work_of(turn.config, last, target) if last and target is not None else None


def _reported_work(turn: Turn) -> Work | None:
    """The gradient of a former member to report on; VALIDATE has no time for it (spec VER-17)."""
    claim, last = report_due(turn.state, turn.me), turn.state.last
    return work_of(turn.config, last, claim.accused) if last and claim else None


def own_work(turn: Turn) -> Work:
    """The gradient that this peer owes in the current step."""
    seed = gradient_seed(turn.config.run, turn.state.election_value, turn.at.number, turn.me)
    return Work(turn.me, turn.at.number, seed, len(turn.state.roster))


def ask(turn: Turn, computation: str) -> None:
    """Note that a computation of this step was asked for, or that something was done once."""
    turn.set_step(asked=turn.at.asked | {computation})


def _time_out(turn: Turn, timeout: int, compute: int) -> None:
    timing, state = turn.config.timing, turn.state
    place = (state.epoch, turn.at.number, int(state.phase))
    turn.timer(timeout, "phase", *place)
    # Beyond this an honest peer has left the phase or frozen: the timing assumption is broken (spec AGR-18).
    slack = 4 * timing.delta + max(timing.delta, timing.delta_bulk)
    turn.timer(timeout + compute + slack, "watch", *place)


def enter_reduce(turn: Turn) -> None:
    """Serve the own parts, fetch those of the own aggregate (spec STP-6, STP-7)."""
    timing = turn.config.timing
    if not set_drifted_aside(turn):
        turn.stop(
            f"step {turn.at.number}: no majority of the peers holds one model; all peers need the same "
            "numerics class for this task's optimizer: compare them with `btard check`, then start anew"
        )
        return
    turn.sign(Enter(turn.at.number, int(Phase.REDUCE)))
    _time_out(turn, timing.t_reduce, timing.c_reduce)
    for part, name in enumerate(turn.at.own_parts):
        turn.emit(fx.Offer(name, (turn.at.aggregators[part],)))
    if turn.at.trains:
        for peer, bulk in zip(turn.at.contributors, input_objects(turn), strict=True):
            fetch(turn, peer, bulk)
        turn.timer(timing.w_bulk, "bulk", turn.state.epoch, turn.at.number)


def input_objects(turn: Turn) -> tuple[Bulk, ...]:
    """Return the parts that this peer aggregates, in roster order."""
    return parts_of(turn, turn.at.aggregators.index(turn.me))


def fetch(turn: Turn, source: int, bulk: Bulk) -> None:
    """Ask ``source`` for an object, also where it is here from an earlier step, to keep it for this one."""
    if turn.state.held.get(bulk) != turn.at.number and source != turn.me:
        turn.emit(fx.Fetch(source, bulk.digest, bulk.size, turn.at.number))


def enter_reveal(turn: Turn) -> None:
    """Open the sketch value: all aggregates are committed now (spec RND-3)."""
    _time_out(turn, turn.config.timing.t_reveal, turn.config.timing.c_reveal)
    secret = secrets_of(turn).sketch
    turn.sign(Reveal(turn.at.number, turn.prev(), secret.value, secret.salt))


def enter_validate(turn: Turn) -> None:
    """Combine the sketch values, and sketch (spec RND-4, VER-2)."""
    _time_out(turn, turn.config.timing.t_validate, turn.config.timing.c_validate)
    step, state = turn.at.number, turn.state
    turn.set_step(sketch_value=_combined(turn, Phase.REVEAL, Purpose.SKETCH))
    claim = report_due(state, turn.me)
    report = gradient_check(turn.config, state.last, claim.accused) if claim and state.last else None
    audit = _audited_work(turn)
    if not turn.at.trains and audit is None and report is None:
        turn.sign(Validate(step, turn.prev(), b"", b""))
        return
    aggregates = _aggregates(turn)
    own = turn.at.own_parts
    turn.compute(Sketch(state.epoch, step, turn.at.sketch_value, own, audit, aggregates, report))


def _aggregates(turn: Turn) -> tuple[Digest, ...]:
    """Return the aggregates of all parts of the step; REDUCE must have been left."""
    return tuple(aggregate_of(turn, part) for part in range(len(turn.at.aggregators))) if turn.at.trains else ()


def enter_accuse(turn: Turn) -> None:
    """Publish disputed parts and check everything before saying ``ok`` (spec VER-9, VER-10)."""
    timing, at = turn.config.timing, turn.at
    scalars = tuple(scalars_of(turn, peer) for peer in at.contributors)
    disputed, alarmed = disputed_parts(turn.config.parameters, turn.state, scalars)
    turn.set_step(disputed=disputed, alarmed=alarmed)
    turn.sign(Enter(at.number, int(Phase.ACCUSE)))
    judging = timing.t_judge_disputed if disputed else timing.t_judge
    compute = timing.c_accuse + judging + 2 * timing.delta
    _time_out(turn, timing.t_accuse_disputed if disputed else timing.t_accuse, compute)
    if disputed:
        turn.timer(timing.t_publish, "publish", turn.state.epoch, at.number)
        for part in disputed:
            # All that are here, not the own alone: a cheat may publish to those only that hold it already.
            for bulk in parts_of(turn, part):
                if turn.holds(bulk):
                    turn.emit(fx.Offer(bulk.digest, None))
            if turn.me in at.contributors:
                publish(turn, part)
    verify(turn)


def publish(turn: Turn, part: int) -> None:
    """Serve an own part to everybody, and say so; once, whoever asks for it (spec VER-9, STP-18)."""
    turn.emit(fx.Offer(turn.at.own_parts[part], None))
    if publish_slot(turn.state.epoch, turn.at.number, part, turn.me) not in turn.state.slots:
        turn.sign(Publish(turn.at.number, part))


def verify(turn: Turn) -> None:
    """Ask for all checks of this step, once the disputed parts are here."""
    at, state, config = turn.at, turn.state, turn.config
    if state.phase is not Phase.ACCUSE or "verify" in at.asked:
        return
    if not turn.holds(*(bulk for part in at.disputed for bulk in parts_of(turn, part))):
        return
    disputed = tuple(part_check(turn, part) for part in at.disputed)
    ask(turn, "verify")
    own = audit = None
    validators = []
    if at.trains:
        own = part_check(turn, at.aggregators.index(turn.me))
    if state.last is not None:
        target = target_of(state, turn.me)
        audit = gradient_check(config, state.last, target) if target is not None else None
        if turn.me in state.last.aggregators and state.last.step > 0:
            part = state.last.aggregators.index(turn.me)
            pairs = [pair for pair in at.pairs if turn.me not in (pair.validator, pair.target)]
            validators = [validator_check(turn, pair.validator, part) for pair in pairs]
            size = part_size(config.parameters.dimension, len(state.last.roster), part)
            validators = [check for check in validators if turn.holds(Bulk(check.object, size))]
    turn.compute(Verify(state.epoch, at.number, own, disputed, audit, tuple(validators)))


def secrets_of(turn: Turn) -> Secrets:
    """Return the own secrets of the step."""
    if turn.at.secrets is None:
        raise ProtocolBug("a phase after COMMIT without secrets")
    return turn.at.secrets


def _combined(turn: Turn, phase: Phase, purpose: Purpose) -> Digest:
    values = []
    for peer in turn.state.roster:
        envelope = turn.phase_message(phase, peer)
        body = envelope.message.body if envelope and envelope.message else None
        if not isinstance(body, Reveal | Accuse):
            raise ProtocolBug(f"{phase.name} of peer {peer} is not here")
        values.append(body.value)
    return combine(turn.config.run, turn.state.epoch, turn.at.number, purpose, values)


# -- leaving --------------------------------------------------------------------------------------------

_ENTER = {Phase.REDUCE: enter_reduce, Phase.REVEAL: enter_reveal, Phase.VALIDATE: enter_validate}
_ENTER[Phase.ACCUSE] = enter_accuse


def leave(turn: Turn) -> bool:
    """Leave the phase if all its messages are delivered; say whether that happened (spec STP-8)."""
    state = turn.state
    if len(turn.at.delivered) < len(state.roster):
        return False
    if state.phase is not Phase.ACCUSE:
        following = Phase(state.phase + 1)
        view = turn.view(state.phase)
        turn.set_step(views=(*turn.at.views, view), delivered=frozenset())
        turn.move(Trigger.DELIVERED, following)
        _ENTER[following](turn)
        return True
    envelopes = tuple(env for peer in state.roster if (env := turn.phase_message(Phase.ACCUSE, peer)))
    if any(is_accusation(envelope) for envelope in envelopes):
        return False
    certify(turn, Certificate(envelopes))
    back_in_step(turn)
    view = turn.view(Phase.ACCUSE)
    begin_step(turn, turn.at.number + 1, (view,), Trigger.CERTIFICATE, Trigger.LAST_CERTIFICATE)
    return True


def is_accusation(envelope: Envelope) -> bool:
    """Whether an ACCUSE carries a claim."""
    body = envelope.message.body if envelope.message else None
    return isinstance(body, Accuse) and body.claim is not None


def begin_step(
    turn: Turn, number: int, views: tuple[Digest, ...], trigger: Trigger, at_the_end: Trigger
) -> None:
    """Enter COMMIT of step ``number``, or DONE after the last."""
    finished = turn.at.asked & {"finished"}  # an epoch may end after the last step, too
    next_step(turn, number, views)
    turn.set_step(asked=finished)
    if number > last_number(turn):
        turn.move(at_the_end, Phase.DONE)
        turn.sign(Enter(number, int(Phase.COMMIT)))
        timing = turn.config.timing
        turn.timer(timing.t_accuse + timing.c_judge + 4 * timing.delta, "linger", turn.state.epoch)
        finish(turn)
    else:
        turn.move(trigger, Phase.COMMIT)
        enter_commit(turn)


def certify(turn: Turn, certificate: Certificate) -> None:
    """Take note of a certified step and apply it (spec STP-9)."""
    at, config, state = turn.at, turn.config, turn.state
    openings = [env.message.body for env in certificate.envelopes if env.message]
    values = [body.value for body in openings if isinstance(body, Accuse)]
    value = combine(config.run, state.epoch, at.number, Purpose.ELECTION, values)
    alarms, drifts = state.alarms, state.drifts
    for part in at.alarmed:
        norm = median([unpack_norms(scalars_of(turn, peer).norms)[part] for peer in at.contributors])
        alarms = alarms.insert(at.aggregators[part], Alarm(at.number, norm))
    for peer in at.drifted:
        drifts = drifts.insert(peer, at.number)
    turn.set(
        before=Before(state.last, state.certificate, state.alarms, state.drifts, state.said_late),
        last=_record(turn, value),
        certificate=(CommitClass(at.number, turn.prev()), certificate),
        alarms=alarms,
        drifts=drifts,
    )
    note_who_was_late(turn)
    turn.emit(fx.Certified(at.number))
    apply(turn, at.number, _aggregates(turn))


def _record(turn: Turn, value: Digest) -> Record:
    """Return what the next steps may refer to, where ``value`` is this step's election value."""
    at, state, last = turn.at, turn.state, turn.state.last
    if last is not None and not at.trains:
        return evolve(last, certified=at.number, certified_value=value)
    scalars = [scalars_of(turn, peer) for peer in at.contributors]
    return Record(
        step=at.number,
        certified=at.number,
        roster=state.roster,
        aggregators=at.aggregators,
        contributors=at.contributors,
        parts=tuple(commit_of(turn, peer).parts for peer in at.contributors),
        aggregates=_aggregates(turn),
        sketches=tuple(body.sketches for body in scalars),
        norms=tuple(body.norms for body in scalars),
        sketch_value=at.sketch_value,
        seed_value=state.election_value,
        election_value=value,
        certified_value=value,
    )


def applied(turn: Turn, step: int, digest: Digest) -> None:
    """Note that the model stands behind ``step``."""
    if step == turn.state.model_step:
        turn.set(model_step=step + 1, model_digest=digest)
        prepare(turn)
        finish(turn)


def finish(turn: Turn) -> None:
    """Report the final model, once, when it is in place."""
    ready = turn.state.model_step == turn.at.number
    if turn.state.phase is Phase.DONE and ready and "finished" not in turn.at.asked:
        turn.emit(fx.Finished(turn.state.model_digest))
        ask(turn, "finished")


def release(turn: Turn) -> None:
    """Let the peer go when the others are done, too, and all reports judged, or time is up (spec STP-11)."""
    state = turn.state
    if state.phase is not Phase.DONE or "finished" not in turn.at.asked or "released" in turn.at.asked:
        return
    slots = [("enter", state.epoch, turn.at.number, int(Phase.COMMIT), peer) for peer in state.roster]
    over = all(slot in state.slots for slot in slots) and all_decided(state, turn.me)
    if over or "lingered" in turn.at.asked:
        ask(turn, "released")
        turn.emit(fx.Released())


def lingered(turn: Turn) -> None:
    """Note that whoever needs this peer after the last step has had the time to ask (spec STP-11)."""
    ask(turn, "lingered")
