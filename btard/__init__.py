"""Byzantine-tolerant distributed training (BTARD): peers without mutual trust train one torch model."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from btard.training.task import Task

__all__ = ["Task"]


def __getattr__(name: str) -> object:
    """Import `Task` when it is first asked for: it needs torch, whose import takes a second."""
    if name != "Task":
        raise AttributeError(f"module 'btard' has no attribute {name!r}")
    from btard.training.task import Task

    return Task
