"""A peer that cannot go on in time is silent and asks; the others answer (spec AGR-18 to AGR-21)."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import evolve

from btard.statemachine.effects import Halted, Judgement, Verdict
from btard.statemachine.ending import stays_of
from btard.statemachine.evidence import BANNING
from btard.statemachine.messages import Chain, Envelope, Frame, GuiltyClass, Poll
from btard.statemachine.state import Halt, Passage
from btard.statemachine.table import STEP_PHASES, Phase, Trigger
from btard.statemachine.turn import Turn

POLL_DELTAS = 4
"""Between two polls of a halted peer, in units of delta."""


def halt(turn: Turn, reason: str, held: frozenset[int] = frozenset()) -> None:
    """Sign nothing more in this epoch but what AGR-23 and AGR-25 allow, and ask the others (spec AGR-19)."""
    if turn.state.phase in (Phase.HALTED, Phase.STOPPED):
        return
    turn.move(Trigger.HALT, Phase.HALTED)
    turn.set(halted=Halt(reason, held, away=turn.state.came_back is not None))
    turn.emit(Halted(reason))
    poll(turn)


def watched(turn: Turn) -> None:
    """Halt in a phase that outlasts every time that an honest peer can need (spec AGR-18)."""
    halt(
        turn,
        f"step {turn.at.number}: {turn.state.phase.name} lasts longer than the run file's times allow: "
        "messages do not get through, or somebody's machine is too slow",
    )


# -- asking ---------------------------------------------------------------------------------------------


def poll(turn: Turn) -> None:
    """Ask all members, with the own records of the epoch's end, and again in a while (spec AGR-19)."""
    state = turn.state
    if state.phase is not Phase.HALTED:
        return
    if state.halted is not None and state.halted.asked is not None:
        turn.set(halted=evolve(state.halted, asked=state.halted.asked + 1))
    # First: who hears the poll signs STAY only if the record that it names is there (spec AGR-23).
    for record in (own_record(turn), state.stays.get((turn.me, turn.me))):
        if record is not None:
            turn.send(record)
    turn.send(own_poll(turn))
    turn.timer(POLL_DELTAS * turn.config.timing.delta, "poll", state.epoch)


def own_poll(turn: Turn) -> Poll:
    """Say where this peer stands (spec AGR-19)."""
    state, record = turn.state, own_record(turn)
    away = state.halted is not None and state.halted.away and record is None and state.stayed is None
    return Poll(state.epoch, state.following, int(state.phase), record.hash if record else b"", away)


def own_record(turn: Turn) -> Envelope | None:
    """Return the EPOCH message that this peer signed in this epoch, if it did."""
    return turn.state.slots.get(("epoch", turn.state.epoch, turn.me))


def ask(turn: Turn, peer: int) -> None:
    """Ask one peer, which is ahead, once in a phase; a halted peer asks all of them anyway."""
    state = turn.state
    name = ("poll", state.epoch, state.position, int(state.phase), peer)
    if state.phase in (*STEP_PHASES, Phase.RATIFY, Phase.DONE) and name not in state.pulled:
        turn.set(pulled=state.pulled.insert(name))
        turn.send(own_poll(turn), (peer,))


# -- answering ------------------------------------------------------------------------------------------


def receive_poll(turn: Turn, sender: int, question: Poll) -> Judgement:
    """Note who is halted, and answer anybody, once in a while: what is noted is kept on disk (spec AGR-20)."""
    state = turn.state
    if state.phase is Phase.STOPPED or question.epoch > state.epoch or sender == turn.me:
        return Judgement(Verdict.IGNORE, "nothing to say to that")
    if sender not in state.rosters[question.epoch]:
        return Judgement(Verdict.IGNORE, "its author is no member of that epoch")
    news = question.epoch == state.epoch and question.phase == Phase.HALTED
    known = state.polls.get(sender)
    news = news and known != question and (known is None or sender not in state.answered)
    if news:
        turn.set(polls=state.polls.insert(sender, question))
    if sender not in state.answered:
        turn.set(answered=state.answered | {sender})
        turn.timer(turn.config.timing.delta, "answered", sender)
        _answer(turn, sender, question)
    elif not news:
        return Judgement(Verdict.IGNORE, "answered just now", "AGR-20")
    return Judgement(Verdict.ACCEPT, "answered")


def may_ask_again(turn: Turn, sender: int) -> None:
    """Let a peer ask again: delta is over since the last answer."""
    turn.set(answered=turn.state.answered - {sender})


def _answer(turn: Turn, sender: int, question: Poll) -> None:
    if question.epoch < turn.state.epoch:
        tell_passages(turn, sender, question.epoch)
        return
    for frame in list(_of_this_epoch(turn, sender, question)):
        turn.send(frame, (sender,))
    if question.phase != Phase.HALTED:
        served = turn.state.served
        for entry in [entry for entry in served if entry[0] == sender]:
            served = served.remove(entry)
        turn.set(served=served)


def _of_this_epoch(turn: Turn, sender: int, question: Poll) -> Iterator[Frame]:
    """Yield what a member of this epoch may lack."""
    state, settle = turn.state, turn.state.settle
    if question.phase != Phase.HALTED:
        # It may have lost everything but its memory: all messages that are here, its own among them, which it
        # compares with what it remembers to have signed (spec MSG-9).
        for slot in sorted(state.slots, key=repr):
            envelope = state.slots[slot]
            if envelope.message and slot == envelope.message.slot and slot[1] == state.epoch:
                yield envelope
    yield from stays_of(state, sender)  # an older journal than its own does not know them (spec MSG-9)
    if state.certificate is not None and question.next_step <= state.certificate[0].step:
        yield Chain(state.epoch, *state.certificate, ())
    if settle is not None:
        yield from settle.accepted.values()
    for evidence in (state.evidence[peer] for peer in sorted(state.evidence)):
        if evidence.kind in BANNING:
            yield Chain(state.epoch, GuiltyClass("ban", evidence.subject), evidence, ())


def tell_passages(turn: Turn, receiver: int, epoch: int) -> None:
    """Send how ``epoch`` and those after it ended, as far as they concern the receiver (spec AGR-20)."""
    state = turn.state
    for number in range(epoch, state.epoch):
        passage = state.passages[number]
        out = receiver not in state.rosters[number + 1]
        for frame in _in_order(passage, receiver if out else None):
            turn.send(frame, (receiver,))
        if out:
            return


def _in_order(passage: Passage, out: int | None) -> Iterator[Frame]:
    """To who is out all evidence first, that against it before all: after the records it listens no more."""
    if out is not None:
        yield from sorted(passage.guilty, key=lambda chain: not _is_against(chain, out))
    if passage.certificate is not None:
        yield passage.certificate
    yield from passage.records
    if out is None:
        yield from passage.guilty


def _is_against(chain: Chain, peer: int) -> bool:
    return isinstance(chain.klass, GuiltyClass) and chain.klass.peer == peer


def remind(turn: Turn) -> None:
    """Tell members whose first COMMIT of the epoch is not here how the epoch before it ended (spec AGR-21)."""
    state = turn.state
    if state.phase is not Phase.COMMIT or turn.at.number != state.first_step or not state.epoch:
        return
    for peer in turn.others():
        if turn.phase_message(Phase.COMMIT, peer) is None:
            tell_passages(turn, peer, state.epoch - 1)


def without_signatures(chain: Chain) -> Chain:
    """Return what a chain shows, without what members signed when they accepted it."""
    return evolve(chain, signatures=())
