"""What a peer's checks find, and whom it finds guilty: honest numbers never, wrong ones always."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence

import pytest
import torch
from attrs import define, evolve
from toy_task import Toy, seed

from btard.hashing import digest
from btard.robust.tolerances import Level, aggregate_tolerance
from btard.statemachine import compute as cp
from btard.statemachine.messages import Claim, ClaimKind
from btard.statemachine.parameters import Parameters
from btard.statemachine.table import Phase
from btard.training.backend import Backend
from btard.training.task import Task

PEERS = 5
TAU = 0.3
PAST, NOW = digest("sketch value of step 1"), digest("sketch value of step 2")
GUILTY_OF = {
    ClaimKind.AGGREGATE: "aggregate",
    ClaimKind.SCALARS: "scalars",
    ClaimKind.NONFINITE: "nonfinite",
}


@define
class Step:
    """Step 1 among five contributors, as judge 0's backend knows it when it is over; tests falsify it."""

    judge: Backend
    works: list[cp.Work]
    parts: list[tuple[bytes, ...]]
    aggregates: list[bytes]
    sketches: list[bytes]
    norms: list[bytes]

    def part_check(self, part: int, aggregator: int = 0) -> cp.PartCheck:
        return cp.PartCheck(
            part=part,
            parts=PEERS,
            aggregator=aggregator,
            aggregate=self.aggregates[part],
            contributors=tuple(range(PEERS)),
            objects=tuple(own[part] for own in self.parts),
            sketch_value=PAST,
            sketches=tuple(rows[512 * part : 512 * (part + 1)] for rows in self.sketches),
            norms=tuple(norms[8 * part : 8 * (part + 1)] for norms in self.norms),
        )

    def gradient_check(self, target: int) -> cp.GradientCheck:
        return cp.GradientCheck(
            work=self.works[target],
            committed=self.parts[target],
            aggregates=tuple(self.aggregates),
            sketch_value=PAST,
            sketches=self.sketches[target],
            norms=self.norms[target],
            aggregators=tuple(range(PEERS)),
        )

    def validator_check(self, validator: int, target: int, part: int, said: cp.Sketched) -> cp.ValidatorCheck:
        return cp.ValidatorCheck(
            validator=validator,
            part=part,
            parts=PEERS,
            object=self.parts[target][part],
            sketch_value=NOW,
            sketch=said.sketches[512 * part : 512 * (part + 1)],
            norm=said.norms[8 * part : 8 * (part + 1)],
            target=self.gradient_check(target),
        )

    def claims(
        self,
        own: cp.PartCheck | None = None,
        disputed: Sequence[cp.PartCheck] = (),
        audit: cp.GradientCheck | None = None,
        validators: Sequence[cp.ValidatorCheck] = (),
    ) -> tuple[Claim, ...]:
        result = self.judge.compute(cp.Verify(0, 1, own, tuple(disputed), audit, tuple(validators)))
        assert isinstance(result, cp.Verified)
        return result.claims

    def guilty(self, claim: Claim, check: cp.PartCheck | cp.GradientCheck | cp.ValidatorCheck) -> int | None:
        result = self.judge.compute(cp.Judge(0, 1, Phase.ACCUSE, 0, claim, check))
        assert isinstance(result, cp.Judged)
        return result.guilty

    def contribute(self, peer: int, vector: torch.Tensor) -> None:
        """Let `peer` commit to another vector, with the scalars that belong to it."""
        self.parts[peer] = tuple(
            self.judge.store.add(p.contiguous(), 1) for p in self.judge.split(vector, PEERS)
        )
        self.broadcast(peer)

    def broadcast(self, peer: int) -> None:
        aggregates = tuple(self.aggregates)
        said = self.judge.compute(cp.Sketch(0, 1, PAST, self.parts[peer], None, aggregates))
        assert isinstance(said, cp.Sketched)
        self.sketches[peer], self.norms[peer] = said.sketches, said.norms

    def reduce(self, part: int, vector: torch.Tensor) -> None:
        """Let a part have another aggregate, to which everybody's scalars fit."""
        self.aggregates[part] = self.judge.store.add(vector, 1)
        for peer in range(PEERS):
            self.broadcast(peer)

    def recomputed(self, target: int) -> cp.Sketched:
        """What an honest validator of `target` broadcasts in step 2."""
        said = self.judge.compute(cp.Sketch(0, 2, NOW, (), self.works[target], ()))
        assert isinstance(said, cp.Sketched)
        return said


def played(task: Task | None = None, tau: float = TAU, gradient_rtol: float = 1e-6) -> Step:
    """Step 1 with honest numbers, after it was applied."""
    torch.set_num_threads(1)
    task = task or Toy()
    values = Parameters(4, task.dimension, tau, 1, 1, math.inf, gradient_rtol, 4.0, 1, 20)
    judge = Backend(task, values, evaluate_every=1)
    works = [cp.Work(peer, 1, seed(peer), PEERS) for peer in range(PEERS)]
    prepared = [judge.compute(cp.Prepare(0, 1, work, None)) for work in works]
    parts = [result.parts for result in prepared if isinstance(result, cp.Prepared)]
    aggregates = []
    for part in range(PEERS):
        objects = tuple(own[part] for own in parts)
        result = judge.compute(cp.Aggregate(0, 1, part, PEERS, objects))
        assert isinstance(result, cp.Aggregated)
        aggregates.append(result.digest)
    step = Step(judge, works, parts, aggregates, [b""] * PEERS, [b""] * PEERS)
    for peer in range(PEERS):
        step.broadcast(peer)
    judge.compute(cp.Apply(1, tuple(aggregates)))
    return step


def changed(data: bytes, place: int, factor: float) -> bytes:
    """The same float64 numbers with one of them multiplied."""
    numbers = list(struct.unpack(f"<{len(data) // 8}d", data))
    numbers[place] *= factor
    return struct.pack(f"<{len(numbers)}d", *numbers)


def largest(data: bytes, part: int) -> int:
    numbers = struct.unpack(f"<{len(data) // 8}d", data)
    return max(range(64 * part, 64 * (part + 1)), key=lambda place: abs(numbers[place]))


# -- honest numbers ---------------------------------------------------------------------------------------


@pytest.mark.shows("VER-10", "TOL-1", "TOL-2", "TOL-3", "TOL-4")
@pytest.mark.refuses("VER-6")
@pytest.mark.parametrize("tau", [1e-6, 0.3, 1e6, math.inf])
def test_honest_numbers_lead_to_no_claim_and_a_false_claim_falls_back_on_its_author(tau: float) -> None:
    step = played(tau=tau)
    checks = [step.part_check(part) for part in range(PEERS)]
    validators = [step.validator_check(1, 2, part, step.recomputed(2)) for part in range(PEERS)]
    assert step.claims(own=checks[0]) == ()
    assert step.claims(own=checks[0], disputed=checks) == ()
    assert step.claims(audit=step.gradient_check(3)) == ()
    assert step.claims(validators=validators) == ()
    for check in checks:
        for kind in GUILTY_OF:
            accused = check.aggregator if kind is ClaimKind.AGGREGATE else 2
            claim = Claim(kind, accused, check.part, check.objects[accused])
            assert step.guilty(claim, check) == cp.ACCUSER
    for target in range(PEERS):
        claim = Claim(ClaimKind.GRADIENT, target, 0, b"")
        assert step.guilty(claim, step.gradient_check(target)) == cp.ACCUSER
    for validator in validators:
        claim = Claim(ClaimKind.VALIDATOR, 1, validator.part, b"")
        assert step.guilty(claim, validator) == cp.ACCUSER


# -- aggregates -------------------------------------------------------------------------------------------


@pytest.mark.refuses("VER-4", "TOL-2", "TOL-6")
@pytest.mark.shows("AGG-3")
@pytest.mark.parametrize(
    "falsify",
    [
        lambda vector: vector + 3e-4 / math.sqrt(len(vector)),
        lambda vector: vector + torch.eye(len(vector))[0] * 1e-5,
        lambda vector: torch.full_like(vector, math.nan),
        lambda vector: torch.full_like(vector, math.inf),
        lambda vector: torch.full_like(vector, 1e30),
        lambda vector: torch.full_like(vector, 3.4e38),
        lambda vector: -vector,
        torch.zeros_like,
    ],
)
def test_a_wrong_aggregate_is_the_first_thing_that_is_claimed(falsify: object) -> None:
    step = played()
    assert callable(falsify)
    step.reduce(2, falsify(step.judge.part(step.aggregates[2])))
    check = step.part_check(2, aggregator=4)
    claim = Claim(ClaimKind.AGGREGATE, 4, 2, b"")
    assert step.claims(own=step.part_check(0), disputed=[check])[0] == claim
    assert step.guilty(claim, check) == 4
    assert step.claims(own=check) == ()  # not disputed: nobody may claim it, and nobody looks


@pytest.mark.shows("TOL-1", "TOL-2")
def test_between_the_two_thresholds_a_judge_convicts_what_nobody_accuses() -> None:
    step = played()
    true = step.judge.part(step.aggregates[1])
    levels = (Level.VOTE, Level.ACCUSE)
    vote, accuse = (aggregate_tolerance([TAU] * PEERS, float(true.norm()), TAU, level) for level in levels)
    direction = torch.ones(len(true)) / math.sqrt(len(true))
    step.reduce(1, true + direction * (vote + accuse) / 2 / PEERS)  # all lie within tau, so each pulls alike
    check = step.part_check(1)
    assert step.claims(disputed=[check]) == ()
    assert step.guilty(Claim(ClaimKind.AGGREGATE, 0, 1, b""), check) == 0


# -- scalars ----------------------------------------------------------------------------------------------


@pytest.mark.refuses("VER-2", "TOL-3")
@pytest.mark.parametrize("what", ["sketch", "norm", "nan sketch", "nan norm"])
def test_wrong_scalars_are_claimed_by_whoever_holds_the_part(what: str) -> None:
    step = played()
    factor = math.nan if what.startswith("nan") else 1 + 1e-7
    if what.endswith("sketch"):
        step.sketches[3] = changed(step.sketches[3], largest(step.sketches[3], 1), factor)
    else:
        step.norms[3] = changed(step.norms[3], 1, factor)
    check = step.part_check(1)
    claim = Claim(ClaimKind.SCALARS, 3, 1, step.parts[3][1])
    assert step.claims(own=check) == (claim,)
    assert step.claims(own=step.part_check(0), disputed=[check]) == (claim,)
    assert step.claims(own=step.part_check(0)) == ()
    assert step.guilty(claim, check) == 3
    other = Claim(ClaimKind.SCALARS, 2, 1, step.parts[2][1])
    assert step.guilty(other, check) == cp.ACCUSER


@pytest.mark.refuses("VER-3")
@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_part_that_is_no_number_is_claimed(number: float) -> None:
    step = played()
    vector = torch.cat([step.judge.part(name) for name in step.parts[4]])
    vector[0] = number
    step.contribute(4, vector)
    check = step.part_check(0)
    claim = Claim(ClaimKind.NONFINITE, 4, 0, step.parts[4][0])
    assert step.claims(own=check) == (claim,)
    assert step.guilty(claim, check) == 4
    assert step.claims(own=step.part_check(1)) == ()


@pytest.mark.shows("VER-12")
def test_findings_come_part_by_part_aggregator_first_and_then_in_roster_order() -> None:
    step = played()
    for part in (1, 3):
        step.reduce(part, step.judge.part(step.aggregates[part]) + 0.1)
    for peer in (4, 2):
        for part in (0, 1, 3):
            step.norms[peer] = changed(step.norms[peer], part, 1.5)
    disputed = [step.part_check(1, aggregator=2), step.part_check(3, aggregator=0)]
    found = step.claims(own=step.part_check(0), disputed=disputed)
    names = [(claim.kind.value, claim.accused, claim.part) for claim in found]
    assert names == [
        ("aggregate", 2, 1),
        ("scalars", 2, 1),
        ("scalars", 4, 1),
        ("aggregate", 0, 3),
        ("scalars", 2, 3),
        ("scalars", 4, 3),
        ("scalars", 2, 0),
        ("scalars", 4, 0),
    ]
    again = step.claims(own=disputed[0], disputed=disputed)  # the own part, if disputed, is not looked at twice
    assert [claim.part for claim in again] == [1, 1, 1, 3, 3, 3]


# -- gradients --------------------------------------------------------------------------------------------


@pytest.mark.refuses("VER-1", "TOL-4")
@pytest.mark.parametrize("factor", [-1000.0, 0.0, 1.001])
def test_another_gradient_than_that_of_its_seed_is_found_by_its_validator(factor: float) -> None:
    step = played()
    gradient = torch.cat(step.judge.recompute(step.works[2]))
    step.contribute(2, gradient * factor)
    check = step.gradient_check(2)
    claim = Claim(ClaimKind.GRADIENT, 2, 0, b"")
    assert step.claims(audit=check) == (claim,)
    assert step.guilty(claim, check) == 2


@pytest.mark.shows("TOL-1", "TOL-4", "VER-16")
def test_within_gradient_rtol_other_bits_are_no_fault() -> None:
    step = played(gradient_rtol=1e-3)
    gradient = torch.cat(step.judge.recompute(step.works[2]))
    step.contribute(2, gradient * (1 + 1e-4))
    check = step.gradient_check(2)
    assert step.parts[2] != step.parts[3]
    assert step.claims(audit=check) == ()
    assert step.guilty(Claim(ClaimKind.GRADIENT, 2, 0, b""), check) == cp.ACCUSER


@pytest.mark.refuses("VER-2", "VER-16")
def test_equal_hashes_clear_the_commitments_but_not_the_scalars() -> None:
    """A judge with the very part does not excuse its scalars; nobody accuses for less than all judges see."""
    step = played(gradient_rtol=0.1)
    step.sketches[2] = changed(step.sketches[2], largest(step.sketches[2], 4), 1 + 1e-6)
    check = step.gradient_check(2)
    claim = Claim(ClaimKind.GRADIENT, 2, 0, b"")
    assert step.claims(audit=check) == ()
    assert step.guilty(claim, check) == 2
    step.sketches[2] = changed(step.sketches[2], largest(step.sketches[2], 4), 1e3)
    check = step.gradient_check(2)
    assert step.claims(audit=check) == (claim,)
    assert step.guilty(claim, check) == 2


class Moody(Toy):
    """Computes another gradient every time."""

    calls = 0

    def gradient(self, seed: bytes) -> torch.Tensor:
        self.calls += 1
        return super().gradient(seed) * (1 + 1e-3 * self.calls)


@pytest.mark.shows("VER-14")
def test_a_judge_that_does_not_agree_with_itself_does_not_vote() -> None:
    step = played(Moody())
    check = step.gradient_check(2)
    assert step.guilty(Claim(ClaimKind.GRADIENT, 2, 0, b""), check) is None
    said = evolve(step.recomputed(2), norms=bytes(8 * PEERS))
    validator = step.validator_check(1, 2, 3, said)
    assert step.guilty(Claim(ClaimKind.VALIDATOR, 1, 3, b""), validator) is None


# -- validators -------------------------------------------------------------------------------------------


def lazy(said: cp.Sketched) -> cp.Sketched:
    return evolve(said, sketches=bytes(len(said.sketches)), norms=bytes(len(said.norms)))


@pytest.mark.refuses("VER-5")
def test_a_validator_that_did_not_look_is_guilty() -> None:
    step = played()
    check = step.validator_check(1, 2, 3, lazy(step.recomputed(2)))
    claim = Claim(ClaimKind.VALIDATOR, 1, 3, b"")
    assert step.claims(validators=[check]) == (claim,)
    assert step.guilty(claim, check) == 1


@pytest.mark.refuses("VER-1")
@pytest.mark.shows("VER-5", "TOL-7")
def test_if_the_validator_is_right_its_target_is_claimed_and_guilty() -> None:
    step = played()
    step.contribute(2, torch.cat(step.judge.recompute(step.works[2])) * -3)
    check = step.validator_check(1, 2, 3, step.recomputed(2))
    claim = Claim(ClaimKind.GRADIENT, 2, 0, b"")
    assert step.claims(validators=[check]) == (claim,)
    assert step.guilty(claim, step.gradient_check(2)) == 2
    assert step.guilty(Claim(ClaimKind.VALIDATOR, 1, 3, b""), check) == cp.ACCUSER


@pytest.mark.refuses("VER-5")
def test_a_validator_that_repeats_what_its_target_committed_is_guilty() -> None:
    """Nobody accuses it, since its numbers fit the committed part; but whoever does is upheld."""
    step = played()
    gradient = torch.cat(step.judge.recompute(step.works[2]))
    step.contribute(2, gradient * -3)
    honest = step.recomputed(2)
    numbers = struct.unpack(f"<{len(honest.norms) // 8}d", honest.norms)
    copied = evolve(honest, norms=struct.pack(f"<{len(numbers)}d", *(3 * number for number in numbers)))
    check = step.validator_check(1, 2, 3, copied)
    assert step.guilty(Claim(ClaimKind.VALIDATOR, 1, 3, b""), check) == 1


# -- a step that is taken back ----------------------------------------------------------------------------


def taken_back(step: Step) -> tuple[bytes, bytes]:
    """Let the judge apply step 2, too, which is to be taken back; return the model before it, and an update."""
    saved = step.judge.compute(cp.Save(2, step.judge.task.model_digest()))
    assert isinstance(saved, cp.Saved)
    step.judge.compute(cp.Apply(2, tuple(step.aggregates)))
    return saved.digest, step.judge.task.model_digest()


@pytest.mark.shows("AGR-22", "VER-14")
def test_who_took_a_step_back_says_nothing_of_gradients_before_it() -> None:
    """The model that they were made at is gone: no audit, no claim, no report, and no vote."""
    step = played()
    step.contribute(2, torch.cat(step.judge.recompute(step.works[2])) * -3)  # whoever could look would claim
    false = step.validator_check(1, 2, 3, lazy(step.recomputed(3)))
    taken_back(step)
    check = step.gradient_check(2)
    own = cp.Work(0, 2, seed(20), PEERS)
    prepared = step.judge.compute(cp.Prepare(1, 2, own, step.works[2]))
    assert isinstance(prepared, cp.Prepared)
    assert len(prepared.parts) == PEERS
    said = step.judge.compute(cp.Sketch(1, 2, NOW, (), step.works[2], (), check))
    assert said == cp.Sketched(b"", b"", (), False)
    assert step.claims(audit=check, validators=[false]) == ()
    assert step.guilty(Claim(ClaimKind.GRADIENT, 2, 0, b""), check) is None
    assert step.guilty(Claim(ClaimKind.VALIDATOR, 1, 3, b""), false) is None
    assert step.guilty(Claim(ClaimKind.SCALARS, 1, 0, b""), step.part_check(0)) == cp.ACCUSER
    assert step.judge.model_before(1) is None


@pytest.mark.shows("AGR-22", "STP-13")
def test_the_model_before_a_step_that_was_taken_back_is_where_others_are() -> None:
    step, other = played(), played()
    before, after = taken_back(step)
    loaded = step.judge.compute(cp.Load(2, before))
    assert loaded == cp.Loaded(other.judge.task.model_digest())
    assert step.guilty(Claim(ClaimKind.GRADIENT, 2, 0, b""), step.gradient_check(2)) is None
    work = cp.Work(2, 2, seed(22), PEERS)
    gradient = torch.cat(other.judge.recompute(work))
    assert torch.equal(torch.cat(step.judge.recompute(work)), gradient)
    assert step.judge.compute(cp.Apply(2, tuple(step.aggregates))) == cp.Applied(after)
    assert torch.equal(torch.cat(step.judge.recompute(work)), gradient)


@pytest.mark.shows("STP-13")
def test_a_model_that_is_fetched_without_a_step_taken_back_leaves_the_one_before() -> None:
    """Also in a closing step, before which nothing was updated."""
    step = played()
    saved = step.judge.compute(cp.Save(4, step.judge.task.model_digest()))
    assert isinstance(saved, cp.Saved)
    step.judge.compute(cp.Load(4, saved.digest))
    claim = Claim(ClaimKind.GRADIENT, 2, 0, b"")
    assert step.guilty(claim, step.gradient_check(2)) == cp.ACCUSER
