"""A Hypothesis state machine on the real cores: messages in any order, twice, late; timers; what liars send.

It plays the same worlds as the search, with more peers and steps and without visiting all. Its rules keep the
timing assumption: time passes only when all that is due has happened.
"""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from btard.statemachine.events import Received
from btard.statemachine.messages import ClaimKind
from btard.statemachine.table import STEP_PHASES
from fuzz.search import adversary as adv
from fuzz.search.adversary import Scene
from fuzz.search.configurations import Configuration, on_honest, small, ticks
from fuzz.search.model import Action, Model, World

MENU = (
    adv.phases(*STEP_PHASES),
    adv.phases(*STEP_PHASES, variants=(1,)),
    adv.enters,
    adv.goodbyes,
    adv.publishes,
    adv.lates(0, 1),
    adv.part_lates(0),
    adv.accusations(on_honest(ClaimKind.SCALARS)),
    adv.opinions(0, 1),
    adv.faults,
    adv.chains("guilty", "ban", "commit", faked=True),
    adv.epochs,
    adv.false_epochs,
)
TICKS_TO_THE_END = 2_000

place = st.integers(0, 1_000_000)


def configuration(peers: int) -> Configuration:
    """Return a run of two steps with one liar; honest messages in any order."""
    return Configuration(
        "machine",
        "everything",
        (),
        timing=ticks(2),
        parameters=small(steps=2, peers=peers),
        peers=peers,
        liars=(peers - 1,),
        fifo=False,
        serves="at once",
        until=lambda state: False,
    )


class Cluster(RuleBasedStateMachine):
    """Honest cores, and a liar that sends what it likes."""

    model: Model
    world: World
    past: list[tuple[int, int]]

    @initialize(peers=st.integers(3, 4))
    def begin(self, peers: int) -> None:
        """Start all honest peers."""
        self.model = Model(configuration(peers))
        self.world = self.model.initial()
        self.past = []

    def _actions(self, *kinds: str) -> list[Action]:
        return [action for action in self.model.actions(self.world) if action[0] in kinds]

    def _do(self, action: Action) -> None:
        self.world = self.model.apply(self.world, action)

    @rule(which=place)
    def deliver(self, which: int) -> None:
        """Let any message under way arrive."""
        if actions := self._actions("deliver"):
            kind, link, position = actions[which % len(actions)]
            event, receiver = self.world.links[link][position][0], self.model.pairs[link][1]
            self.past.append((self.model.honest.index(receiver), event))
            self._do((kind, link, position))

    @rule()
    def deliver_all(self) -> None:
        """Let everything under way arrive, and what comes of it."""
        while actions := self._actions("deliver"):
            self._do(actions[0])

    @precondition(lambda self: self.past)
    @rule(which=place)
    def duplicate(self, which: int) -> None:
        """Let a message arrive once more, however old it is."""
        self.world = self.model.happen(self.world, *self.past[which % len(self.past)])

    @rule(which=place)
    def fire(self, which: int) -> None:
        """Fire a timer that is due."""
        if actions := self._actions("fire"):
            self._do(actions[which % len(actions)])

    @rule(most=st.integers(1, 30))
    def wait(self, most: int) -> None:
        """Let time pass, as far as nothing is due."""
        for _ in range(most):
            if not self._actions("tick"):
                return
            self._do(("tick", 0, 0))

    @rule(move=st.sampled_from(MENU), which=place)
    def lie(self, move: adv.Move, which: int) -> None:
        """Let the liar send something to somebody."""
        states = {peer: self.model.state(self.world, at) for at, peer in enumerate(self.model.honest)}
        sent = list(move(Scene(states, self.model.cores.configs, self.model.liars)))
        if sent:
            sender, receiver, frame = sent[which % len(sent)]
            event = self.model.cores.events.of(Received(sender, frame))
            at = self.model.honest.index(receiver)
            self.past.append((at, event))
            self.world = self.model.happen(self.world, at, event)

    @rule(move=st.sampled_from(MENU[:2]))
    def tell_all(self, move: adv.Move) -> None:
        """Let the liar send one message of the phase to everybody, as an honest peer would."""
        states = {peer: self.model.state(self.world, at) for at, peer in enumerate(self.model.honest)}
        sent = list(move(Scene(states, self.model.cores.configs, self.model.liars)))
        for sender, receiver, frame in sent[: len(self.model.honest)]:
            event = self.model.cores.events.of(Received(sender, frame))
            self.world = self.model.happen(self.world, self.model.honest.index(receiver), event)

    @invariant()
    def agree(self) -> None:
        """Check that honest peers applied and ratified the same; all else is checked where it happens."""
        if hasattr(self, "world"):
            self.model.check_agreement(self.world)

    def teardown(self) -> None:
        """Let the liar fall silent: then the story must come to its end, the same for all honest peers."""
        if not hasattr(self, "world"):
            return
        for _ in range(TICKS_TO_THE_END):
            while actions := self._actions("deliver") or self._actions("fire"):
                self._do(actions[0])
            if self.model.over(self.world):
                self.model.check_end(self.world)
                return
            self.model.check_stuck(self.world)
            self._do(("tick", 0, 0))
        raise AssertionError(f"not over after {TICKS_TO_THE_END} ticks")
