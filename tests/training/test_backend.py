"""What a peer computes when the state machine asks: gradients, aggregates, sketches, updates."""

from __future__ import annotations

import math
import struct
from typing import Any

import pytest
import torch
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_task import DEVICES, Toy, same_bits, seed

from btard.attacks.base import Attack
from btard.attacks.byzantine import ByzantineBackend
from btard.hashing import digest
from btard.robust.centered_clip import centered_clip
from btard.robust.partition import bounds
from btard.robust.scalars import plain, scalars
from btard.robust.sketch import Sketcher
from btard.robust.tolerances import sum_threshold
from btard.statemachine import compute as cp
from btard.statemachine.parameters import Parameters
from btard.training.backend import Backend

PARTS = 3
TAU = 0.3
VALUE = digest("a sketch value")


def parameters(**changes: Any) -> Parameters:
    base = Parameters(
        steps=4,
        dimension=Toy().dimension,
        tau=TAU,
        validators=1,
        f_max=1,
        gradient_clip=math.inf,
        gradient_rtol=1e-6,
        alarm_factor=4.0,
        late_brake=1,
        window=20,
    )
    return evolve(base, **changes)


def backend(task: Toy | None = None, attack: Attack | None = None, **changes: Any) -> Backend:
    torch.set_num_threads(1)
    task = task or Toy()
    values = parameters(dimension=task.dimension, **changes)
    if attack is None:
        return Backend(task, values, evaluate_every=2)
    return ByzantineBackend(task, values, evaluate_every=2, attack=attack)


def work(peer: int, step: int = 1) -> cp.Work:
    return cp.Work(peer, step, seed(10 * peer + step), PARTS)


def prepare(peer: Backend, me: int, step: int = 1, audit: cp.Work | None = None) -> cp.Prepared:
    result = peer.compute(cp.Prepare(0, step, work(me, step), audit))
    assert isinstance(result, cp.Prepared)
    return result


def apply(peer: Backend, step: int, vector: torch.Tensor) -> cp.Applied:
    names = tuple(peer.store.add(piece, step) for piece in peer.split(vector, PARTS))
    result = peer.compute(cp.Apply(step, names))
    assert isinstance(result, cp.Applied)
    return result


@pytest.mark.shows("VER-1", "AGG-1", "CNS-2", "TRN-1")
@pytest.mark.parametrize("device", DEVICES)
def test_the_parts_of_its_gradient_are_committed_to(device: str) -> None:
    peer = backend(Toy(device=device))
    result = prepare(peer, 1)
    gradient = Toy(device=device).gradient(work(1).seed).cpu()
    cuts = bounds(len(gradient), PARTS)
    assert [peer.store.vector(name).tolist() for name in result.parts] == [
        gradient[start:end].tolist() for start, end in cuts
    ]


@pytest.mark.shows("RND-1")
def test_entropy_is_new_every_time() -> None:
    peer = backend()
    drawn = [prepare(peer, 1).entropy for _ in range(4)]
    assert {len(entropy) for entropy in drawn} == {128}
    assert len(set(drawn)) == 4


def test_who_contributes_nothing_commits_to_nothing() -> None:
    peer = backend()
    result = peer.compute(cp.Prepare(0, 1, None, None))
    assert isinstance(result, cp.Prepared)
    assert result.parts == ()


class Spoilt(Toy):
    """Gradients with one number of choice in them."""

    spoilt = math.nan

    def gradient(self, seed: bytes) -> torch.Tensor:
        vector = super().gradient(seed)
        vector[3] = self.spoilt
        return vector


@pytest.mark.shows("VER-1", "VER-3")
@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_gradient_that_is_no_number_is_sent_as_zero_and_its_owner_told(number: float) -> None:
    lines: list[str] = []
    task = Spoilt()
    task.spoilt = number
    peer = Backend(task, parameters(), evaluate_every=1, warn=lines.append)
    result = prepare(peer, 1, step=1)
    assert all(not peer.store.vector(name).any() for name in result.parts)
    (line,) = lines
    assert line.startswith("step 1: this peer's gradient holds NaN or Inf")
    assert "lower the learning rate, or check data and model" in line
    # A validator of this peer finds the same zeros.
    assert all(not piece.any() for piece in backend(task).recompute(work(1)))


@pytest.mark.shows("AGG-2", "STP-7")
@pytest.mark.refuses("VER-3")
@pytest.mark.parametrize("device", DEVICES)
def test_an_aggregate_is_the_fixed_point_and_takes_nan_for_zero(device: str) -> None:
    peer = backend(Toy(device=device))
    generator = torch.Generator().manual_seed(1)
    vectors = [torch.randn(15, generator=generator) for _ in range(4)]
    broken = vectors[2].clone()
    broken[5] = math.nan
    names = tuple(peer.store.add(vector, 1) for vector in [*vectors[:2], broken, vectors[3]])
    result = peer.compute(cp.Aggregate(0, 1, 0, PARTS, names))
    assert isinstance(result, cp.Aggregated)
    expected = centered_clip([*vectors[:2], torch.zeros(15), vectors[3]], TAU)
    torch.testing.assert_close(peer.store.vector(result.digest), expected, rtol=1e-6, atol=1e-7)


def contributions(peers: list[Backend]) -> tuple[list[tuple[bytes, ...]], tuple[bytes, ...]]:
    """Every peer's parts and the aggregates, known to all."""
    parts = [prepare(peer, me).parts for me, peer in enumerate(peers)]
    for name in [name for names in parts for name in names]:
        vector = next(peer.store.vector(name) for peer in peers if peer.store.data(name) is not None)
        for peer in peers:
            peer.store.add(vector, 1)
    aggregates = []
    for part in range(PARTS):
        results = [
            peer.compute(cp.Aggregate(0, 1, part, PARTS, tuple(own[part] for own in parts))) for peer in peers
        ]
        assert len(set(results)) == 1
        (result,) = set(results)
        assert isinstance(result, cp.Aggregated)
        aggregates.append(result.digest)
    return parts, tuple(aggregates)


@pytest.mark.shows("VER-2", "VER-7", "SKT-3", "SKT-5", "TOL-5")
@given(value=st.binary(min_size=32, max_size=32), tau=st.sampled_from([1e-3, 0.3, 100.0, math.inf]))
@settings(max_examples=10)
def test_honest_sketches_add_up_to_nothing(value: bytes, tau: float) -> None:
    peers = [backend(tau=tau) for _ in range(3)]
    parts, aggregates = contributions(peers)
    said = [
        peer.compute(cp.Sketch(0, 1, value, own, None, aggregates))
        for peer, own in zip(peers, parts, strict=True)
    ]
    rows, norms = [], []
    for result in said:
        assert isinstance(result, cp.Sketched)
        assert len(result.aggregate_norms) == PARTS
        rows.append(torch.tensor(struct.unpack(f"<{PARTS * 64}d", result.sketches)).reshape(PARTS, 4, 16))
        norms.append(struct.unpack(f"<{PARTS}d", result.norms))
    for part in range(PARTS):
        threshold = sum_threshold([norm[part] for norm in norms], said[0].aggregate_norms[part], tau)
        assert torch.stack(rows)[:, part].sum(0).norm(dim=1).max() <= threshold


@pytest.mark.shows("SKT-3", "VER-2")
def test_what_is_broadcast_of_a_part() -> None:
    peers = [backend() for _ in range(2)]
    parts, aggregates = contributions(peers)
    result = peers[0].compute(cp.Sketch(0, 1, VALUE, parts[0], None, aggregates))
    assert isinstance(result, cp.Sketched)
    starts = [start for start, _ in bounds(parameters().dimension, PARTS)]
    own = [
        scalars(peers[0].part(name), peers[0].part(aggregate), TAU, Sketcher(VALUE), start)
        for name, aggregate, start in zip(parts[0], aggregates, starts, strict=True)
    ]
    assert result.sketches == b"".join(entry.packed_rows() for entry in own)
    assert result.norms == b"".join(entry.packed_norm() for entry in own)


@pytest.mark.shows("VER-5")
def test_a_validator_broadcasts_what_it_recomputed() -> None:
    validator, target = backend(), backend()
    before = [prepare(peer, me) for me, peer in enumerate((validator, target))]
    gradient = torch.cat([target.part(name) for name in before[1].parts])
    for peer in (validator, target):
        apply(peer, 1, torch.ones(parameters().dimension))
    audit = work(1)
    validator.compute(cp.Prepare(0, 2, None, audit))
    result = validator.compute(cp.Sketch(0, 2, VALUE, (), audit, ()))
    assert isinstance(result, cp.Sketched)
    starts = bounds(len(gradient), PARTS)
    own = [plain(gradient[start:end], TAU, Sketcher(VALUE), start) for start, end in starts]
    assert result.sketches == b"".join(entry.packed_rows() for entry in own)
    assert result.norms == b"".join(entry.packed_norm() for entry in own)
    assert result.aggregate_norms == ()


def test_who_neither_contributes_nor_validates_broadcasts_nothing() -> None:
    result = backend().compute(cp.Sketch(0, 1, VALUE, (), None, ()))
    assert result == cp.Sketched(b"", b"", ())


@pytest.mark.shows("STP-5", "TRN-6")
def test_an_update_is_that_of_the_task() -> None:
    peer, task = backend(), Toy()
    for step in (1, 2, 3):
        vector = Toy(number=step).gradient(seed(step))
        assert apply(peer, step, vector).digest == peer.task.model_digest()
        task.update(vector)
        assert same_bits(peer.task.parameters_vector(), task.parameters_vector())
        assert peer.task.model_digest() == task.model_digest()


@pytest.mark.shows("TRN-5", "VER-13")
@pytest.mark.parametrize("device", DEVICES)
def test_gradients_of_the_last_two_models_are_recomputed_bit_for_bit(device: str) -> None:
    peer, earlier = backend(Toy(device=device, stateful=True)), tuple[torch.Tensor, ...]()
    for step in (1, 2, 3):
        prepare(peer, 0, step)
        now, digest_now = peer.recompute(work(5, step)), peer.task.model_digest()
        loss = peer.task.last_loss
        if step > 1:
            assert all(map(same_bits, peer.recompute(work(5, step - 1)), earlier))
        assert peer.task.model_digest() == digest_now
        assert peer.task.last_loss == loss
        earlier = now
        apply(peer, step, torch.full((peer.parameters.dimension,), 0.1 * step))
    with pytest.raises(ValueError, match="the model before step 2 is not kept any more"):
        peer.recompute(work(5, 2))


def test_a_target_is_recomputed_once_in_a_step() -> None:
    calls = []

    class Counting(Toy):
        def gradient(self, seed: bytes) -> torch.Tensor:
            calls.append(seed)
            return super().gradient(seed)

    peer = backend(Counting())
    apply(peer, 1, torch.ones(parameters().dimension))
    audit = work(1)
    peer.compute(cp.Prepare(0, 2, None, audit))
    peer.compute(cp.Sketch(0, 2, VALUE, (), audit, ()))
    peer.compute(cp.Sketch(0, 2, digest("another value"), (), audit, ()))
    assert calls == [audit.seed]


class Scored(Toy):
    scored: dict[str, float]

    def evaluate(self) -> dict[str, float]:
        return self.scored


def test_figures_of_a_step() -> None:
    task = Scored()
    task.scored = {"accuracy": 0.5, "loss": 2.0, "other": 1.0}
    peer = backend(task, steps=3)
    prepare(peer, 0)
    loss = task.last_loss
    assert peer.progress(1) == {"loss": loss}
    assert peer.progress(2) == {"loss": loss, "accuracy": 0.5, "test_loss": 2.0}
    assert peer.progress(3) == {"loss": loss, "accuracy": 0.5, "test_loss": 2.0}  # the last step
    task.scored = {"accuracy": math.nan, "loss": math.inf}
    assert peer.progress(2) == {"loss": loss}
    assert Backend(Toy(), parameters(), evaluate_every=2).progress(1) == {}  # no gradient yet


class Lying(Attack):
    def gradient(self, step: int, gradient: torch.Tensor) -> torch.Tensor:
        return torch.full_like(gradient, float(step))

    def aggregate(self, step: int, aggregate: torch.Tensor) -> torch.Tensor:
        return torch.full_like(aggregate, -float(step))


def test_an_attack_replaces_numbers_from_its_first_step_on_and_no_others() -> None:
    peer, honest = backend(attack=Lying(from_step=2)), backend()
    name = peer.store.add(torch.ones(15), 1)
    honest.store.add(torch.ones(15), 1)
    for step in (1, 2, 3):
        aggregate = cp.Aggregate(0, step, 0, PARTS, (name,))
        got, true = prepare(peer, 0, step).parts, prepare(honest, 0, step).parts
        aggregated, expected = peer.compute(aggregate), honest.compute(aggregate)
        assert isinstance(aggregated, cp.Aggregated)
        if step == 1:
            assert (got, aggregated) == (true, expected)
        else:
            assert {peer.store.vector(part).unique().item() for part in got} == {float(step)}
            assert peer.store.vector(aggregated.digest).unique().item() == -float(step)
        assert all(map(same_bits, peer.recompute(work(1)), honest.recompute(work(1))))  # others' are not its


@pytest.mark.shows("TRN-19")
@pytest.mark.parametrize("device", DEVICES)
def test_own_and_recomputed_gradients_are_clipped_alike(device: str) -> None:
    peer, other = (backend(Toy(device=device), gradient_clip=0.125) for _ in range(2))
    parts = [peer.store.vector(name) for name in prepare(peer, 1).parts]
    length = torch.cat(parts).double().norm().item()
    assert length == pytest.approx(0.125)
    assert Toy().gradient(work(1).seed).norm().item() > 0.2
    assert all(map(torch.equal, parts, (piece.cpu() for piece in other.recompute(work(1)))))
