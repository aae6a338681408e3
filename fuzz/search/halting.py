"""Declared searches in which the times do not hold: peers halt, ask, and come back (spec AGR-15 to AGR-24).

All begin where every peer has said `ok` to step 0, and what they say from then on is on its way.
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import evolve

from btard.statemachine.parameters import Parameters
from btard.statemachine.table import Phase
from fuzz.search import adversary as adv
from fuzz.search.broken import Broken
from fuzz.search.configurations import Configuration, past, small

OK_TO_ONE = adv.only_to([0], adv.phases(Phase.ACCUSE))


def _braked(peers: int, late_brake: int) -> Parameters:
    return evolve(small(peers=peers), late_brake=late_brake)


def _scene(
    name: str, what: str, broken: Broken, peers: int = 3, late_brake: int = 0, menu: tuple[adv.Move, ...] = ()
) -> Configuration:
    return Configuration(
        name,
        what,
        menu,
        start=(0, Phase.ACCUSE),
        parameters=_braked(peers, late_brake),
        peers=peers,
        liars=(peers - 1,) if menu else (),
        until=past(0, Phase.ACCUSE),
        broken=broken,
    )


def _to(peer: int, *others: int) -> tuple[tuple[int, int], ...]:
    return tuple((other, peer) for other in others)


def _from(peer: int, *others: int) -> tuple[tuple[int, int], ...]:
    return tuple((peer, other) for other in others)


def _none_byzantine() -> Iterable[Configuration]:
    """All wait for all (the brake holds), and all go on."""
    hears = Broken(_to(0, 1, 2), lossy=True, bundled=True, goes_on=True)
    yield _scene("halted-deaf", "what peer 0 should hear comes late or is lost; all halt, and all go on", hears)
    speaks = evolve(hears, links=_from(0, 1, 2))
    yield _scene("halted-mute", "what peer 0 says comes late or is lost; all halt, and all go on", speaks)
    through = Broken(((0, 1), (1, 2)), lossy=True, goes_on=True)
    yield _scene("halted-askew", "two links that meet in peer 1 lose what they like; all go on", through)
    other = evolve(through, links=((0, 1), (2, 0)))
    yield _scene("halted-astray", "two links that meet in peer 0 lose what they like; all go on", other)
    yield evolve(
        _scene("halted-piecemeal", "as halted-deaf: nothing is lost, and each message comes by itself", hears),
        broken=evolve(hears, lossy=False, bundled=False),
        long=True,
    )


def _left_behind() -> Iterable[Configuration]:
    """Three of four may go on without the one whose links break; it learns of it, or all go on."""
    deaf = Broken(_to(3, 0, 1, 2), bundled=True, removable=(3,), goes_on=True)
    yield _scene("left-deaf", "four peers: one hears nothing in time, and comes along or is out", deaf, 4, 1)
    mute = evolve(deaf, links=_from(3, 0, 1, 2), lossy=True)
    yield _scene("left-mute", "four peers: what one says comes late or is lost; it may be out", mute, 4, 1)


def _given_up() -> Iterable[Configuration]:
    """The brake holds for one whose links break; the operators of the others give it up, each at any time."""
    mute = Broken(_from(3, 0, 1, 2), bundled=True, removable=(3,), words=((0, 3), (1, 3), (2, 3)))
    what = "four peers: operators give up one that holds a certificate alone, which comes late"
    yield evolve(_scene("given-up-mute", what, mute, 4), long=True)


def _byzantine() -> Iterable[Configuration]:
    yield _scene(
        "two-sides",
        "the last ok comes to one alone; a fault is shown; the liar signs the outcomes of both sides",
        Broken(((0, 1),), bundled=True),
        menu=(OK_TO_ONE, adv.chains("guilty", signers=False), adv.epochs),
    )
    yield _scene(
        "lied-to",
        "one signs that the liar is out; the liar says that it is halted, and signs that all stay",
        Broken(((0, 1),), bundled=True),
        menu=(adv.only_to([0], adv.chains("guilty", signers=False), adv.false_polls), adv.records_of_all),
    )
    ahead = Broken(_to(0, 1, 2, 3), bundled=True)
    yield evolve(
        _scene(
            "one-step-ahead",
            "five peers: the last ok comes to one alone, which the others' outcome reaches late",
            ahead,
            5,
            2,
            (OK_TO_ONE,),
        ),
        long=True,
    )


def halting() -> Iterable[Configuration]:
    """Yield all searches with broken links."""
    yield from _none_byzantine()
    yield from _left_behind()
    yield from _given_up()
    yield from _byzantine()


HALTING: dict[str, Configuration] = {one.name: one for one in halting()}
