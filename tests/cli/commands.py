"""Commands as four peers would give them."""

from __future__ import annotations

from contextlib import redirect_stdout
from pathlib import Path

from btard.cli.main import main

NAMES = ("alice", "bob", "carol", "dave")


def keygen(folder: Path, name: str, control: str, bulk: str) -> Path:
    """Make a peer's keys, and a file with what was printed."""
    fragment = folder / f"{name}.toml"
    with fragment.open("w") as out, redirect_stdout(out):
        assert main(["keygen", "--out", str(folder / f"{name}.key"), "--control", control, "--bulk", bulk]) == 0
    return fragment


def init(folder: Path, *more: str) -> int:
    peers = [word for name in NAMES for word in ("--peer", str(folder / f"{name}.toml"))]
    return main(["init", "--out", str(folder / "run.toml"), "--seed", "test", *peers, *more])
