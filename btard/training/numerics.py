"""Which arithmetic a peer computes gradients with: two peers of one class get the same bits.

Bits differ between torch versions, processor or GPU models, instruction sets, thread counts and batch shapes,
whatever deterministic mode is on. So peers compare a fingerprint and a canary gradient before they rely on
equal bits.
"""

import os
import platform
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import torch

from btard.training.optimizers import ConsensusOptimizer, ConsensusSchedule

if TYPE_CHECKING:
    from btard.training.task import Task


def set_deterministic(threads: int = 1) -> None:
    """Make torch repeat its own bits in this process, as far as it can (TRN-11).

    Call it before the first CUDA operation. It fixes the number of CPU threads, asks for deterministic
    kernels, keeps subnormal numbers, keeps cuDNN from choosing among algorithms by timing, and turns
    reduced precision off (TF32, half-precision sums). An operation of a user's model that has no
    deterministic kernel is not refused: torch warns, and a genesis with a tolerance is there for it.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(threads)
    torch.set_flush_denormal(False)  # some libraries switch it on when they are loaded
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined, unused-ignore]
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False


@attrs.frozen
class Fingerprint:
    """A numerics class: what has to be equal for two peers to compute the same bits (TRN-10)."""

    torch: str
    device: str
    instruction_set: str
    threads: int
    """CPU threads; 0 on a GPU, where they play no part."""
    batch_size: int

    def differences(self, other: Mapping[str, object]) -> str:
        """Return one line that names each difference from another peer's fingerprint, '' if there is none.

        `other` is what `attrs.asdict` gave there, and may come from the network: a missing or odd value
        counts as a difference, and long ones are cut.
        """
        mine = attrs.asdict(self)
        return "; ".join(
            f"{name} {_short(value)} here, {_short(other.get(name))} there"
            for name, value in mine.items()
            if type(other.get(name)) is not type(value) or other.get(name) != value
        )


_FIELDS = attrs.fields(Fingerprint)


def fingerprint(task: "Task") -> Fingerprint:
    """Return the numerics class in which this process computes the gradients of `task`."""
    device = task.device
    if device.type == "cuda":
        major, minor = torch.cuda.get_device_capability(device)
        model, instruction_set, threads = torch.cuda.get_device_name(device), f"sm_{major}{minor}", 0
    else:
        model, threads = _processor(), torch.get_num_threads()
        instruction_set = torch.backends.cpu.get_cpu_capability()
    return Fingerprint(_torch_build(device), model, instruction_set, threads, task.batch_size)


def described(numerics: Mapping[str, object]) -> str:
    """Return a fingerprint, as it came from another peer, in one short printable line."""
    return ", ".join(f"{field.name.replace('_', ' ')} {_short(numerics.get(field.name))}" for field in _FIELDS)


def mixed_problems(task: "Task") -> Iterator[str]:
    """Say, a line each, what keeps a task from being trained by peers of different numerics classes (GEN-9)."""
    optimizer, schedule = task.optimizer, task.scheduler
    if not isinstance(optimizer, ConsensusOptimizer):
        yield (
            f'numerics are "tolerant", but {type(optimizer).__module__}.{type(optimizer).__name__} rounds '
            "differently on different machines: use SGD, AdamW or LAMB of btard.training.optimizers in the task"
        )
    if schedule is not None and not isinstance(schedule, ConsensusSchedule):
        yield (
            f'numerics are "tolerant", but {type(schedule).__name__} rounds differently on different machines: '
            "use ConsensusSchedule of btard.training.optimizers in the task"
        )


def _torch_build(device: torch.device) -> str:
    if device.type != "cuda":
        return str(torch.__version__)
    cudnn = torch.backends.cudnn.version()  # type: ignore[no-untyped-call, unused-ignore]
    return f"{torch.__version__}, CUDA {torch.version.cuda}, cuDNN {cudnn}"


def _processor() -> str:
    """Return the processor's model: libraries below torch choose their kernels by it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _short(value: object) -> str:
    if isinstance(value, int) and abs(value) < 2**63:
        return str(value)
    text = value if isinstance(value, str) else "nothing" if value is None else "nonsense"
    printable = "".join(c if c.isprintable() else "?" for c in text[:80])
    return printable if len(text) <= 80 else printable + "..."
