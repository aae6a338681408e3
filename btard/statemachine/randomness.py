"""Shared randomness: commit, open, combine (spec RND)."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from attrs import frozen

from btard.hashing import HASH_SIZE, digest


class Purpose(StrEnum):
    """Which of a step's two shared values a secret goes into."""

    SKETCH = "sketch"
    ELECTION = "election"


@frozen
class Secret:
    """A peer's random value and salt, 32 bytes each."""

    value: bytes
    salt: bytes


@frozen
class Secrets:
    """Both secrets of one peer for one step of one epoch."""

    sketch: Secret
    election: Secret

    @classmethod
    def from_entropy(cls, entropy: bytes) -> Secrets:
        """Split 128 bytes from the operating system's generator (spec RND-1)."""
        if len(entropy) != 4 * HASH_SIZE:
            raise ValueError(f"{len(entropy)} bytes of entropy, {4 * HASH_SIZE} are needed")
        pieces = [entropy[i : i + HASH_SIZE] for i in range(0, len(entropy), HASH_SIZE)]
        return cls(Secret(pieces[0], pieces[1]), Secret(pieces[2], pieces[3]))


def _number(value: int) -> bytes:
    return value.to_bytes(8, "little")


def commitment(run: bytes, epoch: int, step: int, author: int, purpose: Purpose, secret: Secret) -> bytes:
    """Return the 32-byte commitment to ``secret``, bound to its slot and author (spec RND-2)."""
    numbers = (_number(epoch), _number(step), _number(author))
    return digest("commitment", run, *numbers, purpose.encode(), secret.value, secret.salt)


def combine(run: bytes, epoch: int, step: int, purpose: Purpose, values: Iterable[bytes]) -> bytes:
    """Return the shared 32-byte value of all opened values in roster order (spec RND-4)."""
    return digest("shared value", run, _number(epoch), _number(step), purpose.encode(), *values)
