"""What a peer knows from the start and never changes: genesis and its own key (spec GEN)."""

from __future__ import annotations

from collections.abc import Callable

from attrs import field, frozen

from btard.statemachine.parameters import Parameters, Timing


@frozen
class Config:
    """One peer's view of a run.

    ``sign`` and ``verify(key, content, signature)`` are pure functions: Ed25519 in a real run, anything
    unforgeable within one process in a search.
    """

    run: bytes
    me: int
    keys: tuple[bytes, ...]
    parameters: Parameters
    timing: Timing
    sign: Callable[[bytes], bytes] = field(repr=False)
    verify: Callable[[bytes, bytes, bytes], bool] = field(repr=False)

    @property
    def peers(self) -> int:
        """Number of peers in the genesis roster."""
        return len(self.keys)


def quorum(members: int) -> int:
    """Return q: so many equal signatures include an honest one (spec AGR-1)."""
    return members // 2 + 1


def faults(members: int) -> int:
    """Return f: so many faulty members can be outvoted (spec AGR-1)."""
    return (members - 1) // 2
