"""The genesis of a run: everything that its peers must share, and the run id that it hashes to (spec GEN).

Plain values; what may be wrong with them is said by `btard.genesis_problems`, and the file that holds them is
read by `btard.runfile`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Final

import cbor2
from attrs import asdict, field, frozen
from rpds import HashTrieMap

from btard.errors import BtardError
from btard.hashing import digest
from btard.statemachine.parameters import Parameters, Timing

OptionValue = bool | int | float | str

NUMERICS: Final = ("exact", "tolerant")
BULK_SECURITY: Final = ("curve", "digest")


def _frozen_map(options: Mapping[str, OptionValue]) -> Mapping[str, OptionValue]:
    return HashTrieMap(options)


class GenesisMismatchError(BtardError):
    """This node's keys, model or data are not those that the genesis names."""


@frozen
class PeerEntry:
    """One peer of the roster; its place there is its peer index."""

    name: str
    sign_key: bytes  # Ed25519 public key, 32 bytes
    curve_key: str  # CURVE public key, 40 characters of Z85
    control: str  # tcp://host:port for control messages
    bulk: str  # tcp://host:port for bulk


@frozen
class TaskSection:
    """Which task all peers train, and the identity of the model and data that it must load."""

    name: str
    options: Mapping[str, OptionValue] = field(converter=_frozen_map)
    model_digest: bytes  # 32 bytes
    data_digest: bytes  # 32 bytes


@frozen
class RunFile:
    """A run's genesis (spec GEN-2)."""

    name: str
    seed: bytes  # 32 bytes
    task: TaskSection
    parameters: Parameters
    timing: Timing
    evaluate_every: int  # steps
    numerics: str  # one of NUMERICS
    bulk_security: str  # one of BULK_SECURITY
    peers: tuple[PeerEntry, ...]

    @cached_property
    def run_id(self) -> bytes:
        """32 bytes that depend on every value of the genesis and on nothing else (spec GEN-2)."""
        return digest("genesis", cbor2.dumps(_plain(asdict(self, recurse=True)), canonical=True))

    def index_of(self, sign_key: bytes, curve_key: str) -> int:
        """Return the peer index of these public keys; raise GenesisMismatchError (spec GEN-5)."""
        for index, peer in enumerate(self.peers):
            if peer.sign_key == sign_key and peer.curve_key == curve_key:
                return index
            if peer.sign_key == sign_key or peer.curve_key == curve_key:
                half = "curve_key" if peer.sign_key == sign_key else "sign_key"
                raise GenesisMismatchError(
                    f"peer {peer.name!r} of the run file has another {half} than this key file; "
                    f"have the run file written anew with the whole output of keygen"
                )
        raise GenesisMismatchError(
            f"the key with sign_key {sign_key.hex()} is not in the roster of run {self.name!r}; "
            f"use the key file of one of its peers ({', '.join(peer.name for peer in self.peers[:20])})"
        )

    def task_problems(self, dimension: int, model_digest: bytes, data_digest: bytes) -> Iterator[str]:
        """Say, a line each, where a loaded task is not the one that the genesis names (spec GEN-6)."""
        if dimension != self.parameters.dimension:
            yield (
                f"the model has {dimension} parameters, the genesis says {self.parameters.dimension}; "
                f"use the model that the run file was written for"
            )
        loaded = {
            "model": (model_digest, self.task.model_digest),
            "data": (data_digest, self.task.data_digest),
        }
        for what, (own, genesis) in loaded.items():
            if own != genesis:
                yield (
                    f"the {what} is not that of the genesis ({what}_digest {own.hex()[:16]}... here, "
                    f"{genesis.hex()[:16]}... there); use the {what} that the run file was written for"
                )


def _plain(value: object) -> object:
    """Return what canonical CBOR has one form for; a float is its 8 big-endian IEEE bytes (spec GEN-2)."""
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(entry) for entry in value]
    return struct.pack(">d", value) if isinstance(value, float) else value
