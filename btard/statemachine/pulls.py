"""Pull and forward: how honest peers come to hold the same messages (spec AGR-5 to AGR-8)."""

from __future__ import annotations

from btard.statemachine import effects as fx
from btard.statemachine.delivery import phase_body
from btard.statemachine.messages import Envelope, Late, Pull, SlotKey, phase_slot, publish_slot, slot_of
from btard.statemachine.state import State
from btard.statemachine.table import STEP_PHASES, Phase
from btard.statemachine.turn import Turn


def place_of(position: int) -> tuple[int, Phase]:
    """Return step and phase of a position."""
    step, phase = divmod(position, 5)
    return step, Phase(phase)


def pull_later(turn: Turn, author: int) -> None:
    """``author`` is a phase ahead: ask it for the current phase's messages, unless they come (spec AGR-5)."""
    state = turn.state
    if state.phase not in STEP_PHASES or author == turn.me:
        return
    name = ("pull", state.epoch, state.at.number, int(state.phase), author)
    if name not in state.pulled:
        turn.set(pulled=state.pulled.insert(name))
        turn.timer(turn.config.timing.pull_grace, *name)


def pull_now(turn: Turn, author: int, position: int) -> None:
    """Ask ``author`` for its whole set of messages of one phase, once (spec AGR-5)."""
    step, phase = place_of(position)
    name = ("pulled", turn.state.epoch, step, int(phase), author)
    if name not in turn.state.pulled:
        turn.set(pulled=turn.state.pulled.insert(name))
        turn.send(Pull(turn.state.epoch, step, int(phase)), (author,))


def pull_where_views_differ(turn: Turn) -> None:
    """Pull the preceding phase from everybody whose message follows another view than mine (spec AGR-5)."""
    if turn.state.phase not in STEP_PHASES or not turn.at.views:
        return
    for author in turn.state.roster:
        body = phase_body(turn.phase_message(turn.state.phase, author))
        if body is not None and body.prev != turn.prev():
            pull_now(turn, author, turn.state.position - 1)


def serve_pull(turn: Turn, sender: int, pull: Pull) -> fx.Judgement:
    """Send what is here of a current or preceding phase, each slot once (spec AGR-6)."""
    state = turn.state
    position = 5 * pull.step + pull.phase
    if sender not in state.roster or pull.epoch != state.epoch:
        return fx.Judgement(fx.Verdict.IGNORE, "pull of another epoch")
    if not state.position - 1 <= position <= state.position:
        return fx.Judgement(fx.Verdict.IGNORE, "pull of a phase that is not mine")
    for author in state.roster:
        serve(turn, sender, phase_slot(state.epoch, pull.step, Phase(pull.phase), author))
    return fx.Judgement(fx.Verdict.ACCEPT, "served")


def serve(turn: Turn, receiver: int, slot: SlotKey, *asked: int) -> None:
    """Forward one message to one peer, once for whatever it was ``asked`` by."""
    envelope = turn.state.slots.get(slot)
    entry = (receiver, (*slot, *asked))
    if envelope is None or entry in turn.state.served or receiver in (envelope.author, turn.me):
        return
    turn.set(served=turn.state.served.insert(entry))
    turn.send(envelope, (receiver,))


def late_slot(epoch: int, late: Late) -> SlotKey:
    """Return the slot that a LATE says was not filled in time."""
    if late.part >= 0:
        return publish_slot(epoch, late.step, late.part, late.subject)
    return phase_slot(epoch, late.step, Phase(late.late_phase), late.subject)


def answer_late(turn: Turn, envelope: Envelope, late: Late) -> None:
    """Forward what the signer of a LATE did not get (spec AGR-8).

    A PUBLISH that came too late in REDUCE is forwarded once more in ACCUSE: there it says who serves the part.
    """
    asked = (late.late_phase,) if late.part >= 0 else ()
    serve(turn, envelope.author, late_slot(turn.state.epoch, late), *asked)


def answer_earlier_lates(turn: Turn, slot: SlotKey) -> None:
    """Forward a message that came only now to those who had said that it was late (spec AGR-8)."""
    for envelope in lates_on(turn.state, slot):
        if envelope.message and isinstance(envelope.message.body, Late):
            answer_late(turn, envelope, envelope.message.body)


def lates_like(state: State, late: Late) -> list[Envelope]:
    """Return all members' LATEs that say the same as ``late``, in roster order."""
    slots = [slot_of(state.epoch, author, late) for author in state.roster]
    return [envelope for slot in slots if (envelope := state.slots.get(slot)) is not None]


def lates_on(state: State, slot: SlotKey) -> list[Envelope]:
    """Return all members' LATEs on one slot; on a PUBLISH, of both phases in which parts are published."""
    kind, epoch, step, where, subject = slot
    part, phases = (where, (int(Phase.REDUCE), int(Phase.ACCUSE))) if kind == "publish" else (-1, (where,))
    keys = [("late", epoch, step, phase, subject, part, author) for phase in phases for author in state.roster]
    return [envelope for key in keys if (envelope := state.slots.get(key)) is not None]
