"""An honest claim on a validator is upheld, however its target and the validator use their tolerances."""

from __future__ import annotations

import pytest
import torch
from attrs import evolve

from btard.hashing import digest
from btard.robust.scalars import plain, scalars
from btard.statemachine import compute as cp
from btard.statemachine.messages import Claim, ClaimKind
from btard.statemachine.parameters import Parameters
from btard.training.backend import Backend
from btard.training.judge import Judging
from fuzz.world import parameters
from tests.training.toy_task import Toy

DIMENSION, RTOL, TARGET, VALIDATOR = 3000, 1e-4, 1, 2


class Drawn(Toy):
    """Gradients that are drawn from their seed, long enough to be sketched."""

    def gradient(self, seed: bytes) -> torch.Tensor:
        generator = torch.Generator().manual_seed(int.from_bytes(seed[:7], "little"))
        return torch.randn(DIMENSION, generator=generator)


def settings() -> Parameters:
    return evolve(parameters(3, 2), dimension=DIMENSION, gradient_rtol=RTOL, tau=1.0)


def orthogonal(vector: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
    for other in others:
        vector = vector - other * (vector @ other) / (other @ other)
    unit: torch.Tensor = vector / vector.norm()
    return unit


class Case:
    """One part of a target that deviates from its gradient by as much as judges let pass."""

    def __init__(self, sideways: float, outwards: float) -> None:
        torch.set_num_threads(1)
        self.backend = Backend(Drawn(), settings(), evaluate_every=1)
        self.judging = Judging(self.backend, mixed=False)
        self.work = cp.Work(TARGET, 1, digest("seed"), 1)
        (self.gradient,) = (piece.double() for piece in self.backend.recompute(self.work))
        generator = torch.Generator().manual_seed(3)
        length = self.gradient.norm()
        away = orthogonal(torch.randn(DIMENSION, generator=generator).double(), self.gradient)
        aside = orthogonal(torch.randn(DIMENSION, generator=generator).double(), self.gradient, away)
        # Towards or from the aggregate: only the norm shows it, and that has a tolerance of its own.
        self.aggregate = (self.gradient + length * away).float()
        self.sent = (self.gradient + RTOL * length * (sideways * aside - outwards * away)).float()
        self.name = self.backend.store.add(self.sent, 1)

    def check(self, past: int, now: int, shown: torch.Tensor) -> cp.ValidatorCheck:
        """What stands in the transcripts, under two sketch values, if the validator shows ``shown``."""
        values = [digest("value", number.to_bytes(8, "little")) for number in (past, now)]
        said = scalars(self.sent, self.aggregate, 1.0, self.backend.sketcher(values[0]), 0)
        target = cp.GradientCheck(
            work=self.work,
            committed=(self.name,),
            aggregates=(self.backend.store.add(self.aggregate, 1),),
            sketch_value=values[0],
            sketches=said.packed_rows(),
            norms=said.packed_norm(),
            aggregators=(0,),
        )
        own = plain(shown.float(), 1.0, self.backend.sketcher(values[1]), 0)
        return cp.ValidatorCheck(
            VALIDATOR, 0, 1, self.name, values[1], own.packed_rows(), own.packed_norm(), target
        )

    def claim(self, check: cp.ValidatorCheck) -> Claim | None:
        claims = self.judging.claims(cp.Verify(0, 2, None, (), None, (check,)))
        return claims[0] if claims else None

    def guilty(self, check: cp.ValidatorCheck, claim: Claim | None = None) -> int | None:
        claim = claim or Claim(ClaimKind.VALIDATOR, VALIDATOR, 0, b"")
        return self.judging.guilty(claim, check.target if claim.kind is ClaimKind.GRADIENT else check)


@pytest.mark.shows("VER-5", "VER-13", "TOL-1", "TOL-4")
@pytest.mark.parametrize(("sideways", "outwards"), [(1.0, 0.99), (2.5, 0.9), (2.5, 2.5)])
def test_an_accuser_that_saw_a_difference_is_never_guilty(sideways: float, outwards: float) -> None:
    """Sketch value 9 happens to hide the first deviation from the past step's scalars; 47 shows it doubled."""
    case = Case(sideways, outwards)
    for now in range(40, 100):
        check = case.check(9, now, case.gradient)
        if (claim := case.claim(check)) is not None:
            assert case.guilty(check, claim) == claim.accused


@pytest.mark.refuses("VER-1", "VER-5", "VER-6")
def test_who_is_guilty_of_a_difference() -> None:
    honest, liar = Case(0.0, 0.0), Case(20.0, 0.0)
    assert honest.claim(honest.check(0, 0, honest.gradient)) is None
    assert honest.guilty(honest.check(0, 0, honest.gradient)) == cp.ACCUSER
    for case in (honest, liar):
        lazy = case.check(0, 0, -case.gradient)
        assert case.claim(lazy) == Claim(ClaimKind.VALIDATOR, VALIDATOR, 0, b"")
        assert case.guilty(lazy) == VALIDATOR
    claim = liar.claim(liar.check(0, 0, liar.gradient))
    assert claim == Claim(ClaimKind.GRADIENT, TARGET, 0, b"")
    assert liar.guilty(liar.check(0, 0, liar.gradient), claim) == TARGET
