"""Violations that a person can read: one line an event."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from btard.statemachine.events import Event, Fired, Held, Received, Resume, Start
from btard.statemachine.messages import Accuse, Certificate, Chain, Envelope, Frame, GuiltyClass, Poll, Pull
from btard.statemachine.table import Phase
from fuzz.search.model import Action, Model, Violation, World


def told(model: Model, actions: Iterable[Action]) -> Iterator[str]:
    """Yield a line for each action, with the time in ticks and what became of the peer."""
    world, now = model.initial(), 0
    yield f"{now:3}  start: {_places(model, world)}"
    for action in actions:
        if action[0] == "tick":
            now += 1
        line = _said(model, world, action)
        try:
            following = model.apply(world, action)
        except Violation as violation:
            yield f"{now:3}  {line}  => {violation}"
            return
        if action[0] != "tick":
            moved = _moved(model, world, following)
            yield f"{now:3}  {line}{moved}"
        world = following
    yield f"{now:3}  end: {_places(model, world)}"


def _places(model: Model, world: World) -> str:
    return "; ".join(_place(model, world, place) for place in range(len(world.peers)))


def _place(model: Model, world: World, place: int) -> str:
    state = model.state(world, place)
    return f"{model.honest[place]} in {state.phase.name} of {state.at.number} (epoch {state.epoch})"


def _moved(model: Model, before: World, after: World) -> str:
    moves = [
        _place(model, after, place)
        for place in range(len(after.peers))
        if _place(model, before, place) != _place(model, after, place)
    ]
    return f"  -> {'; '.join(moves)}" if moves else ""


def _said(model: Model, world: World, action: Action) -> str:
    kind, first, second = action
    if kind == "tick":
        return "time passes"
    if kind == "fire":
        return f"{model.honest[first]}: timer {model.cores.timers[second]}"
    if kind in ("deliver", "lose"):
        event, receiver = model.cores.events[world.links[first][second][0]], model.pairs[first][1]
        lost = "lost: " if kind == "lose" else ""
        return f"{lost}{receiver} < {model.pairs[first][0]}: {_event(event)}"
    event = model.cores.events[second]
    if isinstance(event, Resume):
        return f"{model.honest[first]}: its operator gives up {list(event.without)}"
    sender = event.sender if isinstance(event, Received) else "a liar"
    return f"{model.honest[first]} < LIAR {sender}: {_event(event)}"


def _event(event: Event) -> str:
    match event:
        case Received():
            return _frame(event.frame)
        case Held():
            return f"object {event.digest[:4].hex()}"
        case Fired():
            return f"timer {event.timer}"
        case Start():
            return "start"
    return type(event).__name__


def _frame(frame: Frame) -> str:
    match frame:
        case Poll():
            return f"poll of epoch {frame.epoch}, before step {frame.next_step}, {Phase(frame.phase).name}"
        case Pull():
            return f"pull of step {frame.step}, phase {frame.phase}"
        case Chain():
            klass = frame.klass
            name = f"{klass.type}({klass.peer})" if isinstance(klass, GuiltyClass) else f"commit({klass.step})"
            proof = "certificate" if isinstance(frame.object, Certificate) else str(frame.object.kind)
            return f"chain {name} by {[peer for peer, _ in frame.signatures]}, {proof}, epoch {frame.epoch}"
        case Envelope(message=None):
            return f"malformed message of {frame.author}"
    message = frame.message
    assert message is not None
    body = message.body
    rest = [f"{name}={_short(getattr(body, name))}" for name in _TELLING if hasattr(body, name)]
    claim = (
        f" claim={body.claim.kind} on {body.claim.accused}" if isinstance(body, Accuse) and body.claim else ""
    )
    return f"{body.kind} of {message.author} ({', '.join(rest)}, {frame.hash[:3].hex()}){claim}"


_TELLING = (
    "step", "prev", "entered", "late_phase", "subject", "part", "accuser", "guilty", "next_step", "roster",
)  # fmt: skip


def _short(value: object) -> str:
    return value[:3].hex() if isinstance(value, bytes) else str(value)
