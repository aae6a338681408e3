"""What makes a run of `Returns` enter another epoch: one who is silent, one who cheats, links that break."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from attrs import evolve, frozen

from btard.attacks.forging import Forgery
from btard.statemachine.messages import Body, Envelope, Reveal
from btard.statemachine.table import Phase
from tests.node.returns import Returns

LAST: Final = 3  # of four peers: who is out in the end, if anybody is
OUTAGE: Final = 16.0  # seconds, after which everybody has halted
PHASES: Final = frozenset({Phase.SETTLE, Phase.RATIFY, Phase.HALTED})


@frozen
class Upheaval:
    """How to bring it about in a run that has begun step 1, who is out by it, and the phases it leads to."""

    bring_about: Callable[[Returns], None]
    out: tuple[int, ...]
    phases: frozenset[Phase]


def _silence(returns: Returns) -> None:
    returns.kill(LAST)


def _cheat(returns: Returns) -> None:
    """Peer 3 signs a second REVEAL of step 1."""

    def other(body: Body) -> Body:
        assert isinstance(body, Reveal)
        return evolve(body, prev=bytes(32))

    forgery = Forgery(returns.nodes[LAST].config, other)

    def besides(envelope: Envelope) -> list[Envelope]:
        message = envelope.message
        if envelope.author != LAST or message is None or not isinstance(message.body, Reveal):
            return []
        return [forgery.of(message)] if message.body.step == 1 else []

    returns.lies[LAST] = besides


def _cut(returns: Returns, *sides: set[int]) -> None:
    """Cut all links between these sides for a while; whoever is on none is alone."""
    end = returns.network.now + OUTAGE
    side = {peer: number for number, peers in enumerate(sides) for peer in peers}

    def lost(sender: int, receiver: int) -> bool:
        return returns.network.now < end and side.get(sender, -1 - sender) != side.get(receiver, -1 - receiver)

    returns.lost = lost


UPHEAVALS: Final[Mapping[str, Upheaval]] = {
    "a silent peer is removed": Upheaval(_silence, (LAST,), frozenset({Phase.SETTLE, Phase.RATIFY})),
    "a cheat is banned": Upheaval(_cheat, (LAST,), frozenset({Phase.SETTLE, Phase.RATIFY})),
    "all links break": Upheaval(_cut, (), frozenset({Phase.HALTED})),
    "half is cut off from half": Upheaval(
        lambda returns: _cut(returns, {0, 1}, {2, 3}), (), frozenset({Phase.HALTED})
    ),
}
