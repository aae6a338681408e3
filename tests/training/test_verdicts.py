"""What the judges find: on a target's gradient, and on its validator."""

from __future__ import annotations

import math

import pytest
import torch
from attrs import evolve

from btard.robust.scalars import plain
from btard.robust.sketch import Sketcher
from btard.statemachine import compute as cp
from btard.statemachine.messages import Claim, ClaimKind, Digest
from btard.statemachine.parameters import Parameters
from btard.statemachine.table import Phase
from btard.training.backend import Backend
from tests.training.toy_task import Toy, seed

PARTS = 4
TARGET, VALIDATOR, ACCUSER = 1, 2, 3
SKETCH = seed(77)


def backend(gradient_rtol: float = 1e-3, gradient_clip: float = math.inf) -> Backend:
    task = Toy()
    params = Parameters(
        steps=9,
        dimension=task.dimension,
        tau=0.5,
        validators=1,
        f_max=1,
        gradient_clip=gradient_clip,
        gradient_rtol=gradient_rtol,
        alarm_factor=4.0,
        late_brake=1,
        window=5,
    )
    return Backend(task, params, evaluate_every=1)


def contribution(
    judge: Backend, off: float = 0.0, lie: float = 0.0
) -> tuple[cp.GradientCheck, tuple[Digest, ...]]:
    """What a target commits to and broadcasts that shifts its gradient, or lies about its scalars."""
    work = cp.Work(TARGET, 1, seed(5), PARTS)
    pieces = [piece * (1 + off) for piece in judge.recompute(work)]
    parts = tuple(judge.store.add(piece, 1) for piece in pieces)
    aggregates = tuple(judge.store.add(torch.full_like(piece, 0.01), 1) for piece in pieces)
    own = judge.compute(cp.Sketch(0, 1, SKETCH, parts, None, aggregates))
    assert isinstance(own, cp.Sketched)
    norms = torch.frombuffer(bytearray(own.norms), dtype=torch.float64) * (1 + lie)
    aggregators = tuple(range(PARTS))
    said = (own.sketches, norms.numpy().tobytes())
    check = cp.GradientCheck(work, parts, aggregates, SKETCH, *said, aggregators)
    return check, parts


def verdict(judge: Backend, check: cp.GradientCheck) -> int | None:
    claim = Claim(ClaimKind.GRADIENT, TARGET, 0, b"")
    result = judge.compute(cp.Judge(0, 2, Phase.ACCUSE, VALIDATOR, claim, check))
    assert isinstance(result, cp.Judged)
    return result.guilty


def accusations(judge: Backend, check: cp.GradientCheck) -> list[ClaimKind]:
    result = judge.compute(cp.Verify(0, 2, None, (), check, ()))
    assert isinstance(result, cp.Verified)
    return [claim.kind for claim in result.claims]


@pytest.mark.shows("VER-16", "VER-13", "TOL-1", "TOL-4")
def test_an_honest_target_is_cleared() -> None:
    judge = backend()
    check, _ = contribution(judge)
    assert accusations(judge, check) == []
    assert verdict(judge, check) == cp.ACCUSER


@pytest.mark.shows("TRN-19", "VER-16")
def test_a_target_that_clips_its_gradient_is_cleared() -> None:
    judge = backend(gradient_clip=0.1)
    check, _ = contribution(judge)
    assert accusations(judge, check) == []
    assert verdict(judge, check) == cp.ACCUSER


@pytest.mark.refuses("TRN-19")
def test_a_target_that_does_not_clip_its_gradient_is_convicted() -> None:
    clipping, careless = backend(gradient_clip=0.1), backend()
    contribution(clipping)  # so that the aggregates are in its store too
    check, parts = contribution(careless)
    for part in parts:
        clipping.store.add(careless.store.vector(part), 1)
    assert accusations(clipping, check) == [ClaimKind.GRADIENT]
    assert verdict(clipping, check) == TARGET


@pytest.mark.refuses("VER-16", "VER-2", "TOL-3")
def test_equal_hashes_do_not_excuse_wrong_scalars() -> None:
    """For a judge the tolerance for other bits does not hold where the bits are the same.

    An accuser does not rely on that: judges of another numerics class cannot see it.
    """
    judge = backend(gradient_rtol=0.1)
    check, _ = contribution(judge, lie=1e-6)
    assert verdict(judge, check) == TARGET
    assert accusations(judge, check) == []


@pytest.mark.shows("TOL-1", "TOL-4")
@pytest.mark.refuses("VER-1", "TOL-4")
def test_what_is_accused_is_convicted_and_what_is_small_is_neither() -> None:
    judge = backend(gradient_rtol=1e-3)
    for off in (1e-5, 1e-4, 5e-4, 1e-3, 2e-3, 4e-3, 1e-2, 1.0, -1001.0, math.nan):
        check, _ = contribution(judge, off)
        if math.isnan(off):
            check = evolve(check, norms=b"\xff" * len(check.norms))
        if accusations(judge, check):
            assert verdict(judge, check) == TARGET
        if abs(off) <= 1e-4:
            assert verdict(judge, check) == cp.ACCUSER
        if not abs(off) < 1e-2:
            assert accusations(judge, check) == [ClaimKind.GRADIENT]


def validator_check(judge: Backend, part: int, target_off: float, validator_off: float) -> cp.ValidatorCheck:
    check, parts = contribution(judge, target_off)
    piece = judge.recompute(check.work)[part] * (1 + validator_off)
    said = plain(piece, judge.parameters.tau, Sketcher(seed(8)), judge.start(part, PARTS))
    return cp.ValidatorCheck(
        VALIDATOR, part, PARTS, parts[part], seed(8), said.packed_rows(), said.packed_norm(), check
    )


def judge_validator(judge: Backend, check: cp.ValidatorCheck) -> tuple[ClaimKind | None, int | None]:
    """Return what the part's aggregator claims, and whom the judges of that find guilty."""
    verified = judge.compute(cp.Verify(0, 2, None, (), None, (check,)))
    assert isinstance(verified, cp.Verified)
    if not verified.claims:
        return None, None
    (claim,) = verified.claims
    about = check.target if claim.kind is ClaimKind.GRADIENT else check
    judged = judge.compute(cp.Judge(0, 2, Phase.ACCUSE, ACCUSER, claim, about))
    assert isinstance(judged, cp.Judged)
    return claim.kind, judged.guilty


@pytest.mark.shows("TOL-7", "VER-5")
@pytest.mark.parametrize("part", range(PARTS))
def test_an_honest_doubt_always_finds_a_culprit(part: int) -> None:
    judge = backend(gradient_rtol=1e-3)
    shifts = (0.0, 3e-4, 1e-3, 1.5e-3, 2e-3, 3e-3, 5e-3, 0.1, -2.0)
    for target_off in shifts:
        for validator_off in shifts:
            check = validator_check(judge, part, target_off, validator_off)
            claimed, guilty = judge_validator(judge, check)
            assert guilty == {None: None, ClaimKind.VALIDATOR: VALIDATOR, ClaimKind.GRADIENT: TARGET}[claimed]
            if target_off == validator_off == 0.0:
                assert claimed is None
            if abs(target_off - validator_off) > 0.05:
                assert claimed is not None


@pytest.mark.refuses("TOL-7", "VER-5")
def test_who_of_the_two_is_guilty() -> None:
    judge = backend()
    assert judge_validator(judge, validator_check(judge, 0, 0.0, 1.0)) == (ClaimKind.VALIDATOR, VALIDATOR)
    assert judge_validator(judge, validator_check(judge, 0, 1.0, 0.0)) == (ClaimKind.GRADIENT, TARGET)
    assert judge_validator(judge, validator_check(judge, 0, 0.0, 0.0)) == (None, None)
    false = Claim(ClaimKind.VALIDATOR, VALIDATOR, 0, b"")
    judged = judge.compute(cp.Judge(0, 2, Phase.ACCUSE, ACCUSER, false, validator_check(judge, 0, 0.0, 0.0)))
    assert judged == cp.Judged(cp.ACCUSER)


@pytest.mark.shows("VER-3", "VER-4")
def test_what_is_not_finite_counts_as_the_zero_vector() -> None:
    judge = backend()
    bad = torch.tensor([1.0, math.nan, 3.0])
    infinite = torch.tensor([1.0, math.inf, 3.0])
    good = torch.tensor([0.3, 0.0, 0.0])
    names = tuple(judge.store.add(vector, 1) for vector in (bad, infinite, good))
    result = judge.compute(cp.Aggregate(0, 1, 0, PARTS, names))
    assert isinstance(result, cp.Aggregated)
    assert torch.allclose(judge.store.vector(result.digest), torch.tensor([0.1, 0.0, 0.0]), atol=1e-6)
