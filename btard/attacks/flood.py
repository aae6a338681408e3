"""Far more frames than a peer can have a reason for."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from typing import ClassVar

from btard.attacks.base import Attack
from btard.attacks.forging import forge
from btard.statemachine.effects import Effect, Entered
from btard.statemachine.messages import (
    Certificate,
    Chain,
    Commit,
    CommitClass,
    Enter,
    Evidence,
    EvidenceKind,
    Frame,
    GuiltyClass,
    Late,
    Need,
    NoVerdict,
    Poll,
    Pull,
    Reveal,
    Vote,
)
from btard.statemachine.table import STEP_PHASES, Phase
from btard.wire import encode_frame

_HASH = bytes(32)


class Flood(Attack):
    """Sends each other peer ``count`` frames in every phase, for every place; ``kind=polls``: only polls,
    ``kind=chains``: only chains of the next epoch.

    Polls are those that a halted peer sends, those that one sends that goes on, and such as nobody may send.
    """

    name: ClassVar[str] = "flood"
    kinds = ("all", "polls", "chains")

    def __init__(self, from_step: int = 1, count: float = 200, kind: str = "all") -> None:
        super().__init__(from_step)
        if kind not in self.kinds:
            raise ValueError(f"kind is one of {', '.join(self.kinds)}")
        self.count, self.kind = int(count), kind

    def performed(self, effect: Effect) -> Iterable[Effect]:
        """Do what is to be done, and send much more."""
        if isinstance(effect, Entered) and effect.phase in STEP_PHASES:
            draws = random.Random(f"{self.me} {effect.epoch} {effect.step} {effect.phase}")
            frames = {"all": self._frames, "polls": self._polls, "chains": self._early}[self.kind](draws)
            for peer in self.others:
                for _ in range(self.count):
                    self.peer.host.send(peer, next(frames))
        return (effect,)

    def _frames(self, draws: random.Random) -> Iterator[bytes]:
        """Draw frames without end: for this epoch and later ones, for steps near this one and far off."""
        others, polls = self._others(draws), self._polls(draws)
        while True:
            yield next(polls) if draws.randrange(9) == 0 else encode_frame(next(others))

    def _early(self, draws: random.Random) -> Iterator[bytes]:
        """Draw chains of the next epoch without end: who gets one keeps it until then (spec AGR-4)."""
        while True:
            yield encode_frame(self._chain(self.state.epoch + 1, draws, draws.choice(self.others)))

    def _polls(self, draws: random.Random) -> Iterator[bytes]:
        """Draw polls without end, of all epochs until this one and of the next: some are none (spec AGR-20)."""
        state = self.state
        while True:
            epoch = draws.choice((*range(state.epoch + 1), state.epoch, state.epoch, state.epoch + 1))
            step = max(0, state.following + draws.choice((-1, 0, 0, 0, 1, 10**6)))
            phase = draws.choice((Phase.HALTED, Phase.HALTED, Phase.COMMIT, Phase.ACCUSE, Phase.DONE))
            match draws.randrange(8):
                case 0:
                    yield encode_frame(Poll(epoch, -1, int(phase)))
                case 1:
                    yield encode_frame(Poll(epoch, step, 2**63))
                case 2:
                    frame = encode_frame(Poll(epoch, step, int(phase)))
                    yield frame[: draws.randrange(1, len(frame))]
                case _:
                    yield encode_frame(Poll(epoch, step, int(phase)))

    def _others(self, draws: random.Random) -> Iterator[Frame]:
        """Draw all other frames without end."""
        state, config = self.state, self.peer.config
        while True:
            epoch = state.epoch + draws.choice((0, 0, 0, 1, 1000))
            step = max(0, state.at.number + draws.choice((-2, -1, 0, 0, 1, 2, 10**6)))
            phase, other = draws.randrange(5), draws.choice(self.others)
            match draws.randrange(8):
                case 0 | 1:
                    yield Pull(epoch, step, phase)
                case 2:
                    yield forge(config, epoch, Late(step, phase, other, -1))
                case 3:
                    part = draws.randrange(len(state.roster))
                    yield forge(config, epoch, Late(step, draws.choice((1, 4)), other, part))
                case 4:
                    # Of a later epoch alone: for a slot of this one it would be the second message.
                    salt = draws.randbytes(32)
                    early = (Commit(step, salt, (), salt, salt, salt), Reveal(step, salt, salt, salt))
                    yield forge(config, state.epoch + 1, draws.choice(early))
                case 5:
                    yield forge(config, state.epoch + 1, Enter(step, phase))
                case 6:
                    named = draws.randbytes(32)
                    about = (
                        Vote(step, 4, other, named, other),
                        NoVerdict(step, other, named),
                        Need(step, (other,)),
                    )
                    yield forge(config, state.epoch + 1, draws.choice(about))
                case _:
                    yield self._chain(epoch, draws, other)

    def _chain(self, epoch: int, draws: random.Random, other: int) -> Chain:
        """Return a chain that proves nothing."""
        signatures = ((self.me, draws.randbytes(64)),)
        shown = tuple(draws.sample([*self.state.slots.values()], k=min(2, len(self.state.slots))))
        if draws.randrange(2):
            return Chain(epoch, CommitClass(self.state.at.number, _HASH), Certificate(shown), signatures)
        evidence = Evidence(EvidenceKind.EQUIVOCATION, other, shown)
        return Chain(epoch, GuiltyClass("ban", other), evidence, signatures)
