"""Numerics classes: what peers compare before they rely on equal bits."""

from collections.abc import Iterator

import attrs
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from toy_task import DEVICES, Toy, train

from btard.training.numerics import Fingerprint, canary, fingerprint, set_deterministic

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
    first = canary(task)
    assert canary(task) == canary(Toy(device=device, stateful=True)) == first
    assert canary(Toy(device=device, stateful=True, number=1)) != first
    train(task, 1)
    assert canary(task) != first
