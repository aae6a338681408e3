"""Numerics classes: what peers compare before they rely on equal bits."""

from collections.abc import Iterator

import attrs
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from toy_task import DEVICES, Toy, train

from btard.robust.deviation import RECORD_SIZE, largest_deviation
from btard.training.canary import canary, compared_parts, part_scalars
from btard.training.numerics import Fingerprint, described, fingerprint, mixed_problems, set_deterministic
from btard.training.optimizers import SGD

MINE = Fingerprint(torch="2.13.0", device="AMD EPYC", instruction_set="AVX2", threads=1, batch_size=24)


@pytest.fixture
def torch_settings() -> Iterator[None]:
    """Put back what set_deterministic changes."""
    matmul, threads, precision = (
        torch.backends.cuda.matmul,
        torch.get_num_threads(),
        torch.get_float32_matmul_precision(),
    )
    kept = torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32
    sums = matmul.allow_fp16_reduced_precision_reduction, matmul.allow_bf16_reduced_precision_reduction
    filling = torch.utils.deterministic.fill_uninitialized_memory
    yield
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision(precision)
    torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32 = kept
    matmul.allow_fp16_reduced_precision_reduction, matmul.allow_bf16_reduced_precision_reduction = sums
    torch.utils.deterministic.fill_uninitialized_memory = filling


@pytest.mark.shows("TRN-11")
@pytest.mark.usefixtures("torch_settings")
def test_deterministic_mode_fixes_threads_and_full_precision(monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    set_deterministic(threads=2)
    assert torch.get_num_threads() == 2
    assert torch.are_deterministic_algorithms_enabled()
    assert torch.get_float32_matmul_precision() == "highest"
    assert not torch.backends.cuda.matmul.allow_tf32
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cudnn.benchmark
    task = Toy(stateful=True)
    assert torch.equal(task.gradient(bytes(32)), task.gradient(bytes(32)))


@pytest.mark.shows("TRN-10")
@pytest.mark.parametrize("device", DEVICES)
def test_a_fingerprint_says_what_computes_the_gradients(device):
    found = fingerprint(Toy(device=device, batch_size=5))
    assert found == fingerprint(Toy(device=device, batch_size=5))
    assert found.batch_size == 5
    assert found.torch.startswith(torch.__version__)
    assert found.device
    assert found.instruction_set
    assert found.threads == (torch.get_num_threads() if device == "cpu" else 0)
    assert found.differences(attrs.asdict(found)) == ""


@pytest.mark.shows("TRN-10")
def test_differences_are_named_in_one_line():
    theirs = attrs.evolve(MINE, torch="2.11.0", threads=4)
    assert MINE.differences(attrs.asdict(theirs)) == "torch 2.13.0 here, 2.11.0 there; threads 1 here, 4 there"
    assert MINE.differences(attrs.asdict(MINE)) == ""


@pytest.mark.refuses("TRN-10")
@given(
    st.dictionaries(
        st.sampled_from(["torch", "device", "instruction_set", "threads", "batch_size", "other"]),
        st.none() | st.booleans() | st.integers() | st.text() | st.binary() | st.lists(st.integers()),
    )
)
def test_whatever_another_peer_claims_gives_one_short_printable_line(theirs):
    text = MINE.differences(theirs)
    assert text.isprintable()
    assert len(text) < 1000
    assert text != ""


@pytest.mark.refuses("TRN-10")
def test_odd_values_are_differences():
    theirs = attrs.asdict(MINE) | {
        "threads": True,
        "torch": "x" * 1000,
        "device": "a\nb",
        "batch_size": 10**5000,
    }
    text = MINE.differences(theirs)
    assert text.startswith("torch 2.13.0 here, " + "x" * 80 + "... there")
    assert "a?b there" in text
    assert text.endswith("batch_size 24 here, nonsense there")
    assert "threads 1 here, True there" in text


@pytest.mark.shows("TRN-10")
@pytest.mark.parametrize("device", DEVICES)
def test_a_canary_repeats_and_tells_other_parameters_apart(device):
    task = Toy(device=device, stateful=True)
    first = canary(task, 5)
    assert canary(task, 5) == canary(Toy(device=device, stateful=True), 5) == first
    assert canary(Toy(device=device, stateful=True, number=1), 5).digest != first.digest
    assert (
        largest_deviation(first.scalars, canary(Toy(device=device, stateful=True, number=1), 5).scalars) > 0.1
    )
    train(task, 1)
    assert canary(task, 5).digest != first.digest


@pytest.mark.shows("TRN-20")
@pytest.mark.parametrize("parts", [1, 3, 16, 17, 40])
def test_a_canary_has_the_scalars_of_its_parts_and_of_sixteen_at_most(parts):
    found = canary(Toy(), parts)
    assert len(found.scalars) == RECORD_SIZE * min(parts, 16)
    assert len(set(compared_parts(parts))) == min(parts, 16)


@pytest.mark.shows("TRN-20")
@given(st.integers(0, 10**6), st.floats(-8, -1))
def test_the_deviation_of_scalars_is_about_that_of_the_gradients(number, exponent):
    generator = torch.Generator().manual_seed(number)
    g, e = torch.randn(2, 400, generator=generator)
    other = g + 10.0**exponent * e
    mine, theirs = (part_scalars(vector, 2, bytes(32)) for vector in (g, other))
    found = largest_deviation(mine, theirs)
    assert found == largest_deviation(theirs, mine)
    assert 0.3 * 10.0**exponent < found < 3 * 10.0**exponent
    assert largest_deviation(mine, mine) == 0.0


@pytest.mark.refuses("GEN-9")
def test_tolerant_numerics_need_an_optimizer_that_rounds_alike_everywhere():
    (line,) = mixed_problems(Toy())
    assert "torch.optim.sgd.SGD rounds differently" in line
    assert "btard.training.optimizers" in line
    odd = Toy(lambda parameters: SGD(parameters, 0.1))
    assert list(mixed_problems(odd)) == []
    odd.scheduler = torch.optim.lr_scheduler.ExponentialLR(odd.optimizer, 0.9)
    (line,) = mixed_problems(odd)
    assert "ExponentialLR" in line


@pytest.mark.refuses("TRN-10")
@given(st.dictionaries(st.text(), st.none() | st.integers() | st.text() | st.binary()))
def test_any_claimed_class_is_described_in_one_short_line(theirs):
    assert described(theirs).isprintable()
    assert len(described(theirs | {"torch": "x" * 1000})) < 600
