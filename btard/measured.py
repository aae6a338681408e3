"""What a peer has measured on its machine, and how that stands in the file with its public keys (spec GEN-10).

`btard measure` writes it, `btard init` reads the files of all peers, which others may have written: everything
in them is checked, and serves for proposals only.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, get_type_hints

from attrs import asdict, frozen

from btard.genesis import PeerEntry
from btard.genesis_problems import roster_problems, shown
from btard.hashing import HASH_SIZE
from btard.robust.deviation import RECORD_SIZE, largest_deviation
from btard.runfile import RunFileError, Table, dump_peer, parse, read_peers
from btard.runfile_text import toml

CANARIES: Final = 3
"""Seeds of which a canary gradient's scalars are in a file."""

MAX_MS: Final = 1e7
_MAX_TEXT: Final = 200
_WHAT: Final = """\
# What `btard measure` found on this peer's machine; btard init proposes times and tolerance from it.
"""


@frozen
class Measured:
    """Measurements of one task on one machine; times in milliseconds, the longest of several."""

    task: str
    model_digest: bytes  # of the model that was measured, the same at all peers
    data_digest: bytes
    torch: str
    device: str
    instruction_set: str
    threads: int
    batch_size: int
    gradient_ms: float
    update_ms: float  # apply an aggregate, and the digest of the state
    sketch_ms: float  # scalars of all parts
    clip_ms: float  # CenteredClip of 16 vectors of a 16th of the dimension
    hash_ms: float  # of a whole vector
    write_ms: float  # of the model and what goes on from it, until the disk has it (spec OPS-5)
    relative: (
        float  # how far gradients are off from those of another numerics class, relative to a part's length
    )
    absolute: float  # the same, not relative
    canaries: tuple[bytes, ...]  # scalars of whole gradients at the model that was measured (spec TRN-20)

    @property
    def machine(self) -> tuple[object, ...]:
        """What two machines of one numerics class have in common."""
        return self.torch, self.device, self.instruction_set, self.threads, self.batch_size

    @property
    def subject(self) -> tuple[object, ...]:
        """What was measured: the same at all peers of a run."""
        return self.task, self.batch_size, self.model_digest, self.data_digest

    def deviation(self, other: Measured) -> float:
        """Return the largest relative deviation of the canaries of two machines."""
        return max(map(largest_deviation, self.canaries, other.canaries))

    def problems(self) -> Iterator[str]:
        """Say, a line each, what cannot have been measured (spec GEN-10)."""
        for name, value in asdict(self).items():
            if isinstance(value, str) and not (0 < len(value) <= _MAX_TEXT and value.isprintable()):
                yield f"{name} = {shown(value)}: must be 1 to {_MAX_TEXT} printable characters"
            elif name.endswith("_digest") and len(value) != HASH_SIZE:
                yield f"{name} = {shown(value)}: must be {HASH_SIZE} bytes"
            elif name.endswith("_ms") and not 0 <= value <= MAX_MS:
                yield f"{name} = {shown(value)}: must be 0 to {MAX_MS:g} ms"
            elif name in ("relative", "absolute") and not (math.isfinite(value) and value >= 0):
                yield f"{name} = {shown(value)}: must be a number that is not negative"
        if not 0 <= self.threads <= 4096:
            yield f"threads = {shown(self.threads)}: must be 0 to 4096"
        if not 1 <= self.batch_size <= 2**32:
            yield f"batch_size = {shown(self.batch_size)}: must be 1 to {2**32}"
        if len(self.canaries) != CANARIES or any(len(scalars) != RECORD_SIZE for scalars in self.canaries):
            yield f"canaries: must be {CANARIES} texts in base64 of {RECORD_SIZE} bytes each"


def load_peer_file(path: Path) -> tuple[tuple[PeerEntry, ...], Measured | None]:
    """Return the peers of a file, and what was measured, if there is anything, on the machine of the only one.

    Raises RunFileError with all problems.
    """
    problems: list[str] = []
    values = dict(parse(path))
    found = values.pop("measured", None)
    table = Table("", values, problems)
    peers = read_peers(table)
    table.close()
    problems.extend(roster_problems(peers or ()))
    measured = None if found is None else _read(found, problems)
    if found is not None and peers is not None and len(peers) != 1:
        problems.append(f"[measured] is of one machine, but here are {len(peers)} peers: give each a file")
    if problems or peers is None:
        raise RunFileError(path, problems)
    return tuple(filter(None, peers)), measured


def _read(found: object, problems: list[str]) -> Measured | None:
    if not isinstance(found, dict):
        problems.append("measured: must be a table")
        return None
    table = Table("[measured]", found, problems)
    values: dict[str, Any] = {
        name: table.take(name, kind) for name, kind in get_type_hints(Measured).items() if name != "canaries"
    }
    canaries = table.take("canaries", list)
    table.close()
    if canaries is None or None in values.values():
        return None
    measured = Measured(**values, canaries=tuple(map(_decoded, canaries[: CANARIES + 1])))
    problems.extend(f"[measured] {line}" for line in measured.problems())
    return measured


def _decoded(text: object) -> bytes:
    """Return what a text in base64 stands for, nothing where it is none."""
    try:
        return base64.b64decode(text, validate=True) if isinstance(text, str) else b""
    except (binascii.Error, ValueError):
        return b""


def dump_peer_file(peer: PeerEntry, measured: Measured) -> str:
    """Return the text of a peer's file, such that `load_peer_file` gives the same."""
    lines = [dump_peer(peer), _WHAT + "[measured]"]
    for name, value in asdict(measured).items():
        if name == "canaries":
            texts = "".join(f'    "{base64.b64encode(scalars).decode()}",\n' for scalars in value)
            lines.append(f"canaries = [\n{texts}]")
        else:
            lines.append(f"{name} = {toml(value)}")
    return "\n".join([*lines, ""])
