"""Ways to tamper with what a peer sends: each returns a function for `World.tamper`."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from attrs import evolve

from btard.attacks.forging import NO_MESSAGE, Change, Forgery, forge, own_body, sign
from btard.statemachine import effects as fx
from btard.statemachine.events import Received
from btard.statemachine.messages import (
    Accuse,
    Body,
    Claim,
    Commit,
    Enter,
    Envelope,
    Late,
    Need,
    Publish,
    Reduce,
    Reveal,
    Validate,
    Vote,
    phase_slot,
    publish_slot,
)
from btard.statemachine.table import Phase
from fuzz.world import Tamper, World

__all__ = ["forge", "sign"]


def _own(effect: fx.Effect, peer: int, kind: type[Body], step: int) -> Body | None:
    """Return the body of an own message of a kind from ``step`` on, if that is what is sent."""
    body = own_body(effect, peer, kind)
    return body if body is not None and getattr(body, "step", 0) >= step else None


def silent(kind: type[Body], step: int) -> Tamper:
    """Send no message of this kind from ``step`` on."""

    def tamper(world: World, peer: int, effect: fx.Effect) -> Iterable[fx.Effect]:
        return () if _own(effect, peer, kind, step) else (effect,)

    return tamper


def vanishing(step: int) -> Tamper:
    """Send nothing of that step or later any more once this peer is drawn as a target, in ``step`` or later."""
    drawn: list[int] = []

    def tamper(world: World, peer: int, effect: fx.Effect) -> Iterable[fx.Effect]:
        at = world.states[peer].at
        if at.number >= step and any(pair.target == peer for pair in at.pairs):
            drawn.append(at.number)
        if not drawn or not isinstance(effect, fx.Send):
            return (effect,)
        body = (
            effect.frame.message.body if isinstance(effect.frame, Envelope) and effect.frame.message else None
        )
        return (effect,) if getattr(body, "step", drawn[0]) < drawn[0] else ()

    return tamper


def to_some(kind: type[Body], step: int, favoured: Iterable[int]) -> Tamper:
    """Send messages of this kind to the favoured only."""
    chosen = set(favoured)

    def tamper(world: World, peer: int, effect: fx.Effect) -> Iterable[fx.Effect]:
        if isinstance(effect, fx.Send) and _own(effect, peer, kind, step):
            return (evolve(effect, to=tuple(p for p in effect.to if p in chosen)),)
        return (effect,)

    return tamper


def changed(kind: type[Body], step: int, change: Change, fooled: Iterable[int] | None = None) -> Tamper:
    """Send another message in place of the honest one: to all, or an equivocation to the fooled only."""
    chosen = None if fooled is None else set(fooled)
    forgeries: dict[int, Forgery] = {}

    def tamper(world: World, peer: int, effect: fx.Effect) -> Iterable[fx.Effect]:
        body = _own(effect, peer, kind, step)
        if body is None or not isinstance(effect, fx.Send) or not isinstance(effect.frame, Envelope):
            return (effect,)
        message = effect.frame.message
        assert message is not None
        other = forgeries.setdefault(peer, Forgery(world.configs[peer], change)).of(message)
        if chosen is None:
            return (evolve(effect, frame=other),)
        rest = tuple(p for p in effect.to if p not in chosen)
        return (
            fx.Send(rest, effect.frame),
            fx.Send(tuple(p for p in effect.to if p in chosen), other),
        )

    return tamper


def lying(kind: type[Body], step: int, change: Change) -> Tamper:
    """Send another message to all, and go on with it: the others see no fault but the lie itself."""
    change_it = changed(kind, step, change)

    def tamper(world: World, peer: int, effect: fx.Effect) -> Iterable[fx.Effect]:
        for done in change_it(world, peer, effect):
            if done != effect and isinstance(done, fx.Send) and isinstance(said := done.frame, Envelope):
                assert said.message is not None
                slots = world.states[peer].slots.insert(said.message.slot, said)
                world.states[peer] = evolve(world.states[peer], slots=slots)
            yield done

    return tamper


def garbage(kind: type[Body], step: int) -> Tamper:
    """Sign bytes that are no message, in place of messages of this kind."""

    def tamper(world: World, peer: int, effect: fx.Effect) -> Iterable[fx.Effect]:
        if isinstance(effect, fx.Send) and _own(effect, peer, kind, step):
            return (evolve(effect, frame=sign(world.configs[peer], peer, NO_MESSAGE)),)
        return (effect,)

    return tamper


def other_digest(body: Body) -> Body:
    """Change something in a phase message that no form forbids."""
    match body:
        case Commit():
            return evolve(body, sketch_commitment=bytes(32))
        case Reduce():
            return evolve(body, aggregate=bytes(32))
        case Reveal() | Accuse():
            return evolve(body, salt=bytes(32))
        case Validate():
            return evolve(body, norms=bytes(len(body.norms)))
    raise ValueError(f"nothing to change in {body.kind}")


def claiming(step: int, claim: Callable[[World, int], Claim | None]) -> Tamper:
    """Raise a claim in place of ``ok`` in ``step``."""

    def tamper(world: World, peer: int, effect: fx.Effect) -> Iterable[fx.Effect]:
        body = _own(effect, peer, Accuse, step)
        if isinstance(body, Accuse) and isinstance(effect, fx.Send) and body.step == step:
            raised = claim(world, peer)
            epoch = world.states[peer].epoch
            return (
                evolve(effect, frame=forge(world.configs[peer], epoch, evolve(body, claim=raised))),
                *((fx.Offer(raised.object, None),) if raised and raised.object else ()),
            )
        return (effect,)

    return tamper


def voting(guilty: int) -> Tamper:
    """Vote that ``guilty`` is guilty, whatever was found."""
    return changed(Vote, 0, lambda body: evolve(body, guilty=guilty) if isinstance(body, Vote) else body)


def crying_late(step: int, subject: int) -> Tamper:
    """Say that an honest peer's message was late, at once."""

    def tamper(world: World, peer: int, effect: fx.Effect) -> Iterable[fx.Effect]:
        body = _own(effect, peer, Commit, step)
        if isinstance(body, Commit) and isinstance(effect, fx.Send) and body.step == step:
            late = Late(step, 0, subject, -1)
            return (effect, evolve(effect, frame=forge(world.configs[peer], 0, late)))
        return (effect,)

    return tamper


def _said(world: World, peer: int, phase: Phase, author: int) -> Body | None:
    """Return what ``peer`` holds of ``author``'s message of a phase of the step that it is in."""
    state = world.states[peer]
    envelope = state.slots.get(phase_slot(state.epoch, state.at.number, phase, author))
    return envelope.message.body if envelope and envelope.message else None


def withhold_parts(
    world: World, liars: Iterable[int], deprived: Iterable[int], told: Iterable[int], step: int = 1
) -> None:
    """Let ``liars`` serve no part to the ``deprived``; where one is needed, publish it to ``told`` alone."""
    without, heard, before = set(deprived), set(told), world.refuses

    def refuses(source: int, asker: int, name: bytes) -> bool:
        body, state = _said(world, asker, Phase.COMMIT, source), world.states[asker]
        if source not in world.tamper or not isinstance(body, Commit) or name not in body.parts:
            return before(source, asker, name)
        if state.at.number < step:
            return False
        slot = publish_slot(state.epoch, state.at.number, body.parts.index(name), source)
        return asker not in heard if slot in state.slots else asker in without

    world.refuses = refuses
    world.tamper |= {liar: to_some(Publish, step, heard) for liar in liars}


def withhold_aggregates(world: World, liars: Iterable[int], told: Iterable[int], step: int = 1) -> None:
    """Let ``liars`` serve their aggregates to ``told`` alone."""
    heard, before = set(told), world.refuses

    def refuses(source: int, asker: int, name: bytes) -> bool:
        body = _said(world, asker, Phase.REDUCE, source)
        if source not in world.tamper or not isinstance(body, Reduce) or name != body.aggregate:
            return before(source, asker, name)
        return world.states[asker].at.number >= step and asker not in heard

    world.refuses = refuses
    world.tamper |= dict.fromkeys(liars, honest)


def honest(world: World, peer: int, effect: fx.Effect) -> Iterable[fx.Effect]:
    """Do what the core says."""
    return (effect,)


def needing(
    subjects: Callable[[World, int], tuple[int, ...]], told: Iterable[int], delay: int = 0, step: int = 1
) -> Tamper:
    """Say to ``told`` that parts of these did not come, ``delay`` ms after entering REDUCE, true or not."""
    heard = set(told)

    def tamper(world: World, peer: int, effect: fx.Effect) -> Iterable[fx.Effect]:
        body, state = _own(effect, peer, Enter, step), world.states[peer]
        if isinstance(body, Enter) and body.entered == Phase.REDUCE and (named := subjects(world, peer)):
            need = forge(world.configs[peer], state.epoch, Need(body.step, named))
            for receiver in heard & set(state.roster):
                world.schedule(delay + world.latency(), receiver, Received(peer, need))
        return () if _own(effect, peer, Need, step) else (effect,)

    return tamper
