"""What a demonstration is to show: how many peers and steps, and which of the peers cheat, how and when."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Final

from attrs import evolve, frozen

from btard.attacks.names import AttackSpec, parse
from btard.errors import BtardError
from btard.hashing import digest
from btard.statemachine.parameters import Parameters
from btard.wire import MAX_PEERS

DEFAULT_ATTACKS: Final = ("bad_aggregate", "sign_flip", "sign_flip")
MIN_STEPS: Final = 10
EVALUATIONS: Final = 40  # in a run, about


class Variant(Enum):
    """One of the runs that are compared; the value names it in files."""

    BTARD = "btard"
    ATTACK_FREE = "attack_free"
    UNDEFENDED = "undefended"

    @property
    def attacked(self) -> bool:
        """Whether the attackers of the plan attack in it."""
        return self is not Variant.ATTACK_FREE

    @property
    def title(self) -> str:
        """What happens in it, in a few words."""
        return _TITLES[self]


_TITLES: Final = {
    Variant.BTARD: "under attack, with BTARD",
    Variant.ATTACK_FREE: "the same without attack",
    Variant.UNDEFENDED: "under the same attack, without defence (plain mean)",
}


@frozen
class Plan:
    """One demonstration; peers are named by their index."""

    peers: int
    steps: int
    seed: int
    attacks: Mapping[int, AttackSpec]  # by peer index
    tau: float
    validators: int

    @property
    def honest(self) -> tuple[int, ...]:
        """The peers that do not cheat."""
        return tuple(peer for peer in range(self.peers) if peer not in self.attacks)

    @property
    def attack_start(self) -> int:
        """The first step in which anybody attacks."""
        return min(attack.from_step for attack in self.attacks.values())

    @property
    def evaluate_every(self) -> int:
        """Steps between two evaluations."""
        return max(1, self.steps // EVALUATIONS)

    @property
    def run_seed(self) -> bytes:
        """The 32-byte seed of the run files, which fixes the initial model and the first minibatches."""
        return digest("demo seed", str(self.seed).encode())

    def parameters(self, variant: Variant, dimension: int) -> Parameters:
        """Return what the protocol computes with.

        Without defence, the aggregate is the plain mean and nothing is checked (spec AGG-4).
        """
        parameters = Parameters(
            steps=self.steps,
            dimension=dimension,
            tau=self.tau,
            validators=self.validators,
            f_max=bearable(self.peers, self.validators),
            gradient_clip=math.inf,
            gradient_rtol=1e-6,
            alarm_factor=4.0,
            late_brake=bearable(self.peers, self.validators),
            window=20,
        )
        return (
            parameters if variant is not Variant.UNDEFENDED else evolve(parameters, tau=math.inf, validators=0)
        )


def bearable(peers: int, validators: int) -> int:
    """Return how many Byzantine peers there may be: the most that n - m > 2f allows."""
    return max(0, (peers - validators - 1) // 2)


def default_start(steps: int) -> int:
    """Return the first step of an attack that names none: after three tenths of the run."""
    return max(1, steps * 3 // 10)


def make_plan(
    *, peers: int, steps: int, seed: int, attacks: Sequence[str], tau: float, validators: int
) -> Plan:
    """Return the plan; no ``attacks`` means the default ones, as many as the peers bear.

    Raises BtardError, in one line, where such a demonstration cannot be given.
    """
    if peers > MAX_PEERS:
        raise BtardError(f"--peers {peers}: at most {MAX_PEERS}")
    if steps < MIN_STEPS:
        raise BtardError(f"--steps {steps}: too few to see anything; at least {MIN_STEPS}")
    most = bearable(peers, validators)
    _check_room(peers, validators, len(attacks))
    start = default_start(steps)
    specs = [parse(text, start) for text in attacks or DEFAULT_ATTACKS[:most]]
    for spec in specs:
        if spec.from_step > steps:
            raise BtardError(f"--attack {spec}: it would begin after the last step, {steps}")
    cheats = sorted(shuffled(peers, seed)[: len(specs)])
    plan = Plan(peers, steps, seed, dict(zip(cheats, specs, strict=True)), tau, validators)
    for problem in plan.parameters(Variant.BTARD, dimension=peers).problems(peers):
        raise BtardError(problem)
    return plan


def _check_room(peers: int, validators: int, attackers: int) -> None:
    most = bearable(peers, validators)
    given = f"{peers} peers, {validators} of them validators at each step,"
    if most < 1:
        raise BtardError(f"{given} bear no cheat; at least {validators + 3} peers are needed (--peers)")
    if attackers > most:
        raise BtardError(
            f"{given} bear at most {most} cheats (n - m > 2f), not {attackers}: "
            f"leave out an --attack, or give --peers {2 * attackers + validators + 1}"
        )


def shuffled(peers: int, seed: int) -> list[int]:
    """Return the peer indices in an order that depends on the seed alone."""

    def place(peer: int) -> bytes:
        return digest("demo attackers", str(seed).encode(), str(peer).encode())

    return sorted(range(peers), key=place)
