"""Judging among peers whose machines round differently: no honest peer is ever voted guilty."""

from __future__ import annotations

import pytest
import torch
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from test_judge import NOW, PEERS, Step, played
from toy_task import Toy

from btard.robust.partition import bounds
from btard.statemachine import compute as cp
from btard.statemachine.messages import Claim, ClaimKind
from btard.statemachine.table import Phase
from btard.training.backend import Backend
from btard.training.second_look import nudged

TARGET, VALIDATOR, PART = 2, 1, 3
GRADIENT = Claim(ClaimKind.GRADIENT, TARGET, 0, b"")


class Rounding(Toy):
    """Every part of its gradients is off by `error` of its length, in a direction of its class."""

    def __init__(self, klass: int, error: float) -> None:
        super().__init__()
        self.klass, self.error = klass, error

    def gradient(self, seed: bytes) -> torch.Tensor:
        true = super().gradient(seed)
        generator = torch.Generator().manual_seed(self.klass + int.from_bytes(seed[:4], "little"))
        pieces = []
        for start, end in bounds(self.dimension, PEERS):
            noise = torch.randn(end - start, generator=generator)
            pieces.append(true[start:end] + self.error * noise * true[start:end].norm() / noise.norm())
        return torch.cat(pieces)


class Kink(Toy):
    """A share of its gradient is there or not as one parameter lies on one side or the other."""

    def __init__(self, side: float = 1.0) -> None:
        super().__init__()
        self.side = side  # where this machine sees the parameter that lies on the edge
        self.edge = next(self.model.parameters()).detach().reshape(-1)[0].item()

    def gradient(self, seed: bytes) -> torch.Tensor:
        first = next(self.model.parameters()).detach().reshape(-1)[0].item()
        side = first - self.edge or self.side
        true = super().gradient(seed)
        return true * 1.3 if side > 0 else true


def another(step: Step, task: Toy, mixed: bool = False) -> Backend:
    """Another peer after the same step, which holds the same objects."""
    backend = Backend(task, step.judge.parameters, evaluate_every=1, mixed=mixed)
    backend.store = step.judge.store
    backend.compute(cp.Apply(1, tuple(step.aggregates)))
    return backend


def claims(backend: Backend, audit: cp.GradientCheck | None, *validators: cp.ValidatorCheck) -> list[ClaimKind]:
    result = backend.compute(cp.Verify(0, 1, None, (), audit, validators))
    assert isinstance(result, cp.Verified)
    return [claim.kind for claim in result.claims]


def guilty(backend: Backend, claim: Claim, check: cp.GradientCheck | cp.ValidatorCheck) -> int | None:
    result = backend.compute(cp.Judge(0, 1, Phase.ACCUSE, 0, claim, check))
    assert isinstance(result, cp.Judged)
    return result.guilty


def said_by(backend: Backend, step: Step) -> cp.Sketched:
    """What this peer broadcasts in step 2 as the validator of TARGET."""
    said = backend.compute(cp.Sketch(0, 2, NOW, (), step.works[TARGET], ()))
    assert isinstance(said, cp.Sketched)
    return said


def contributed(step: Step, target: Backend, factor: float) -> None:
    """Let TARGET contribute its machine's gradient times a factor, 1 if it is honest."""
    step.contribute(TARGET, factor * torch.cat(target.recompute(step.works[TARGET])))


rtols = st.floats(-6, -1).map(lambda exponent: 10.0**exponent)
factors = st.just(1.0) | st.floats(0.5, 6).map(lambda excess: -excess)  # excess: in units of gradient_rtol


@pytest.mark.shows("TOL-1", "TOL-4", "VER-6", "VER-13")
@pytest.mark.refuses("VER-1", "TOL-4")
@settings(max_examples=25, deadline=None)
@given(rtol=rtols, target=st.integers(0, 2), accuser=st.integers(0, 2), factor=factors)
def test_whatever_class_accuser_target_and_judges_are_of_honest_ones_lose_no_vote(
    rtol: float, target: int, accuser: int, factor: float
) -> None:
    """Honest deviations of up to gradient_rtol / 4: a quarter is what the tolerance is four times of."""
    step = played(Rounding(0, rtol / 8), gradient_rtol=rtol)
    peers = [another(step, Rounding(klass, rtol / 8)) for klass in range(3)]
    honest = factor == 1.0
    contributed(step, peers[target], 1.0 if honest else 1 - factor * rtol)
    check = step.gradient_check(TARGET)
    accused = claims(peers[accuser], check) == [ClaimKind.GRADIENT]
    votes = {guilty(peer, GRADIENT, check) for peer in peers}
    if honest:
        assert not accused
        assert votes == {cp.ACCUSER}
    if accused:
        assert votes == {TARGET}, "an honest accusation is upheld by everybody"


@pytest.mark.shows("TOL-1", "TOL-7", "VER-6", "VER-13")
@pytest.mark.refuses("VER-5", "TOL-7")
@settings(max_examples=25, deadline=None)
@given(rtol=rtols, classes=st.tuples(*[st.integers(0, 2)] * 2), factors=st.tuples(factors, factors))
def test_a_validator_and_its_target_on_other_machines_are_told_apart_from_cheats(
    rtol: float, classes: tuple[int, int], factors: tuple[float, float]
) -> None:
    step = played(Rounding(0, rtol / 8), gradient_rtol=rtol)
    peers = [another(step, Rounding(klass, rtol / 8)) for klass in range(3)]
    scale = [1.0 if factor == 1.0 else 1 - factor * rtol for factor in factors]
    contributed(step, peers[classes[0]], scale[0])
    validator = Rounding(classes[1], rtol / 8)
    lying = another(step, validator)
    lying._audited[step.works[TARGET]] = tuple(
        scale[1] * piece for piece in lying.recompute(step.works[TARGET])
    )
    check = step.validator_check(VALIDATOR, TARGET, PART, said_by(lying, step))
    culprits = {peer for peer, factor in zip((TARGET, VALIDATOR), factors, strict=True) if factor != 1.0}
    claim = Claim(ClaimKind.VALIDATOR, VALIDATOR, PART, b"")
    votes = {
        ClaimKind.VALIDATOR: {guilty(peer, claim, check) for peer in peers},
        ClaimKind.GRADIENT: {guilty(peer, GRADIENT, check.target) for peer in peers},
    }
    for found in votes.values():
        assert found <= culprits | {cp.ACCUSER}, "nobody honest that was accused is voted guilty"
    for kind in claims(peers[0], None, check):
        assert cp.ACCUSER not in votes[kind], "nor who accused"
        assert len(votes[kind]) == 1


@pytest.mark.shows("TRN-21")
def test_where_rounding_decides_nobody_is_accused_and_nobody_found_guilty() -> None:
    step = played(Kink(), gradient_rtol=1e-3)
    there, here = another(step, Kink(), mixed=True), another(step, Kink(-1.0), mixed=True)
    contributed(step, there, 1.0)
    check = step.gradient_check(TARGET)
    assert claims(another(step, Kink(-1.0)), check) == [ClaimKind.GRADIENT], "without a second look"
    assert claims(here, check) == []
    assert guilty(here, GRADIENT, check) == cp.ACCUSER
    said = step.validator_check(VALIDATOR, TARGET, PART, said_by(here, step))
    assert claims(there, None, said) == []
    assert guilty(there, Claim(ClaimKind.VALIDATOR, VALIDATOR, PART, b""), said) == cp.ACCUSER


@pytest.mark.refuses("TRN-21", "VER-1", "VER-5")
def test_a_second_look_excuses_no_other_gradient() -> None:
    step = played(Kink(), gradient_rtol=1e-3)
    here = another(step, Kink(), mixed=True)
    contributed(step, here, 0.9)
    check = step.gradient_check(TARGET)
    assert claims(here, check) == [ClaimKind.GRADIENT]
    assert guilty(here, GRADIENT, check) == TARGET
    said = said_by(here, step)
    honest = step.validator_check(VALIDATOR, TARGET, PART, said)
    lazy = evolve(honest, sketch=bytes(512), norm=bytes(8))
    claim = Claim(ClaimKind.VALIDATOR, VALIDATOR, PART, b"")
    assert claims(here, None, honest, lazy) == [ClaimKind.GRADIENT]  # the first is what is claimed
    assert claims(here, None, lazy, honest) == [ClaimKind.VALIDATOR]
    assert guilty(here, claim, honest) == cp.ACCUSER
    assert guilty(here, claim, lazy) == VALIDATOR


@pytest.mark.shows("TRN-21")
@given(st.floats(1, 1000))
def test_a_nudge_moves_every_parameter_by_rounding_errors_only(distance: float) -> None:
    parameters = Toy().parameters_vector()
    moved = nudged(parameters, distance)
    assert moved.dtype == parameters.dtype
    assert ((moved - parameters).abs() <= (distance + 1) * 2.0**-24 * parameters.abs()).all()
    assert not torch.equal(moved, nudged(parameters, distance + 1))
