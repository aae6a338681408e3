"""What becomes of each attack: by which rule it is caught, and within how many steps, or why it does no harm.

Without torch, so that commands can print it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final

from attrs import frozen

from btard.odds import odds_of_a_look, steps_to_find

MISS: Final = 1e-4
"""Odds that an attacker is not caught within the stated number of steps."""


class When(Enum):
    """What it takes to catch an attacker; the value says it in words."""

    AT_ONCE = "in the first step in which it contributes"
    TARGET = "in the step after, when an honest validator is drawn for it"
    VALIDATOR = "when it is drawn as a validator itself"
    AGGREGATOR = "when it aggregated what another's target contributed"
    SOON = "within a few steps: it dies before they are over"
    NEVER = "never: it does no harm"


@frozen
class Case:
    """One attack with its options, and what is to come of it.

    ``{partners}`` in ``attack`` stands for the other attackers, else for itself. ``least`` is how many
    attackers it takes; ``spares`` how many of them may keep their place, since alone they can do nothing.
    """

    attack: str
    when: When
    rules: tuple[str, ...] = ()
    kind: str = "ban"
    why: str = ""  # where it does no harm
    least: int = 1
    spares: int = 0

    @property
    def name(self) -> str:
        """The attack's name, without options."""
        return self.attack.partition(":")[0]

    @property
    def provable(self) -> bool:
        """Whether nothing wrong is ever applied: it is found out within the step, or harms none."""
        return self.when is not When.TARGET

    def sizes(self) -> tuple[int, ...]:
        """Return how many attackers there are in the runs that try it, among 8 peers."""
        return (max(1, self.least), 3)

    def texts(self, cheats: tuple[int, ...], step: int) -> Mapping[int, str]:
        """Return the attack of each of these peers, from ``step`` on, as `names.parse` reads it."""
        head, colon, options = self.attack.partition(":")
        return {
            cheat: f"{head}@{step}{colon}{options}".replace(
                "{partners}", "+".join(str(peer) for peer in cheats if peer != cheat) or str(cheat)
            )
            for cheat in cheats
        }

    def within(self, peers: int, validators: int, attackers: int) -> int:
        """Return within how many steps after its first each attacker is caught, but for odds of `MISS`."""
        match self.when:
            case When.TARGET:
                # The step that chance picks, and the step after, in which it is looked at.
                return 1 + steps_to_find(odds_of_a_look(peers, validators, attackers), MISS)
            case When.VALIDATOR:
                return steps_to_find(validators / peers, MISS)
            case When.AGGREGATOR:
                return steps_to_find((peers - 2) / peers, MISS)
            case When.SOON:
                return 2
        return 1  # a validator of one step contributes to the next


_GRADIENTS = ("sign_flip", "random_direction", "label_flip", "delayed_gradient", "lazy", "ipm", "alie")

CASES: Final = (
    *(Case(name, When.TARGET, ("VER-1",)) for name in _GRADIENTS),
    Case("vanish", When.TARGET, ("VER-1", "STP-3"), kind="ban or remove"),
    Case("nan", When.AT_ONCE, ("VER-3",)),
    Case("bad_aggregate", When.AT_ONCE, ("VER-4",)),
    Case("bad_scalars", When.AT_ONCE, ("VER-2",)),
    # A large shift is alarming by itself (VER-8): then all see the aggregate at once.
    Case("bad_sketch", When.TARGET, ("VER-1", "VER-4")),
    Case("bad_sketch:shift=0.01", When.TARGET, ("VER-1",)),
    Case(
        "bad_sketch_pair:partner={partners},shift=0.01",
        When.TARGET,
        ("VER-1", "VER-18"),
        least=2,
        spares=1,
    ),
    Case("lazy_validator", When.VALIDATOR, ("VER-5",)),
    Case("slander:kind=gradient", When.VALIDATOR, ("VER-6",)),
    Case("slander:kind=validator", When.AGGREGATOR, ("VER-6",)),
    Case("slander:kind=scalars", When.AT_ONCE, ("VER-6",)),
    Case("slander:kind=nonfinite", When.AT_ONCE, ("VER-6",)),
    Case("slander:kind=aggregate", When.AT_ONCE, ("VER-2", "VER-6")),
    *(
        Case(f"equivocate:phase={phase}", When.AT_ONCE, ("MSG-5",))
        for phase in ("commit", "reduce", "reveal", "validate", "accuse")
    ),
    Case("garbage:kind=signed", When.AT_ONCE, ("MSG-3",)),
    Case("garbage:kind=frames", When.NEVER, why="unsigned bytes are dropped and counted (NET-7)"),
    Case("withhold_reveal:phase=reveal", When.AT_ONCE, ("STP-3",), kind="remove"),
    Case("withhold_reveal:phase=accuse", When.AT_ONCE, ("STP-3",), kind="remove"),
    Case("oversize:kind=message", When.AT_ONCE, ("STP-3",), kind="remove"),
    Case("oversize:kind=object", When.AT_ONCE, ("STP-3",), kind="remove"),
    Case("oversize:kind=frame", When.NEVER, ("STP-3",), why="dropped unread (MSG-4), its link with it"),
    Case("false_vote", When.NEVER, why="a verdict takes the votes of more than half of the members (AGR-9)"),
)
"""Every attack of this package that lies, in all its forms."""

_WAITS = "whoever has its message passes it on; each phase lasts T at most"
_SERVED = "whoever has got it serves it on"
_PUBLISHED = "at most f parts are published in a step, which costs traffic (STP-16)"
_BACK = "back before T is over, it stands where its journal says and signs nothing twice (OPS-5)"
OUTAGES: Final = (
    Case("silent", When.AT_ONCE, ("STP-3",), kind="remove"),
    Case("late:when=after", When.AT_ONCE, ("STP-3",), kind="remove"),
    Case("late:when=before", When.NEVER, why="the others wait for it, in each phase until T at most (AGR-7)"),
    Case("late:when=split,partner={partners}", When.NEVER, ("STP-3",), kind="remove", why=f"{_WAITS} (AGR-8)"),
    Case("show_to_one:partner={partners}", When.NEVER, ("STP-3",), kind="remove", why=f"{_WAITS} (AGR-8)"),
    Case("slow_drip", When.NEVER, why="the others wait for its vectors, until W_bulk at most (TIM-3)"),
    Case("slow_drip:pace=20", When.AT_ONCE, ("STP-3",), kind="remove"),
    Case("withhold_part:answer=none", When.AT_ONCE, ("STP-3",), kind="remove"),
    Case("withhold_part:answer=some", When.NEVER, ("STP-3",), kind="remove", why=f"{_SERVED} (STP-19)"),
    Case("withhold_part:answer=all", When.NEVER, why="its parts are published, and come W_bulk later (STP-18)"),
    Case("withhold_aggregate:to=none", When.AT_ONCE, ("STP-3",), kind="remove"),
    Case("withhold_aggregate:to=one", When.NEVER, ("STP-3",), kind="remove", why=f"{_SERVED} (AGR-6)"),
    Case("false_need:to=all", When.NEVER, why=_PUBLISHED),
    Case("false_need:to=one", When.NEVER, why=_PUBLISHED),
    Case("false_late", When.NEVER, why="a removal takes the LATEs of more than half of the members (AGR-9)"),
    *(
        Case(f"crash_loop:phases={phases}", When.SOON, ("STP-3", "MSG-5"), kind="remove or ban")
        for phases in (6, 7)  # at the start of COMMIT and of REDUCE
    ),
    *(  # in every phase, and in another one of each step
        Case(f"crash_loop:phases={phases},away=0.3", When.NEVER, ("STP-3",), kind="remove", why=_BACK)
        for phases in (1, 6)
    ),
    Case("crash_loop:phases=6,away=5", When.SOON, ("STP-3",), kind="remove"),
    Case(
        "flood",
        When.NEVER,
        ("STP-3", "MSG-5"),  # its frames for the next epoch contradict each other
        kind="remove or ban",
        why="each answer is given once, and what is kept is bounded (AGR-4, AGR-6)",
    ),
    Case(
        "flood:kind=chains",
        When.NEVER,
        ("STP-3",),
        kind="remove",
        why="of each sender so many are kept, and no more (AGR-4)",
    ),
    Case("flood:kind=polls", When.NEVER, why="a peer answers one of its polls in each delta (AGR-20)"),
)
"""Every attack that keeps something back, or wastes the others' time: these need no vectors."""

EVERY: Final = (*CASES, *OUTAGES)
