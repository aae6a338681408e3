"""A peer that comes back needs nobody to serve it a second time (spec OPS-17 to OPS-19)."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import pytest

from btard.statemachine import effects as fx
from tests.node.returns import Returns

PEERS: Final = 5
RUN: Final = {"validators": 0, "f_max": 2}


def refuse(*cheats: int) -> Callable[[Returns], None]:
    """These serve peer 0 nothing any more, and stay clean otherwise."""

    def to_whom(owner: int, requester: int, _: bytes, data: bytes) -> list[tuple[float, bytes]]:
        return [] if owner in cheats and requester == 0 else [(0.0, data)]

    def meanwhile(returns: Returns) -> None:
        returns.network.bulk_filter = to_whom

    return meanwhile


def die(*peers: int) -> Callable[[Returns], None]:
    """These are gone for good."""

    def meanwhile(returns: Returns) -> None:
        for peer in peers:
            returns.kill(peer)

    return meanwhile


MEANWHILE: Final[Mapping[str, tuple[Callable[[Returns], None], tuple[int, ...]]]] = {
    "one serves nothing again": (refuse(3), ()),
    "two serve nothing again": (refuse(3, 4), ()),
    "one dies in the same instant": (die(3), (3,)),
}


def crash(folder: Path, number: int, name: str, peers: int = PEERS) -> fx.Effect | None:
    """Crash before this effect, come back at once while this happens, and finish: peer 0 keeps its place."""
    meanwhile, out = MEANWHILE[name]
    home = folder / f"{number}"
    home.mkdir()
    returns = Returns(home, peers, steps=3, seed=number, changes=RUN)
    effect = returns.crash_at(0, number)
    if effect is not None:
        meanwhile(returns)
        returns.start(0)
        returns.run()
    roster = returns.nodes[0].state.roster
    assert set(range(peers)) - set(roster) <= set(out), f"crash before effect {number}"
    returns.check_one_history(*(peer for peer in out if peer not in roster))
    returns.close()
    shutil.rmtree(home)
    return effect


@pytest.mark.shows("OPS-5", "OPS-17", "STP-3")
@pytest.mark.parametrize("name", MEANWHILE)
def test_who_comes_back_needs_nobody_to_serve_it_again(tmp_path: Path, name: str) -> None:
    """Some crashes; `python -m tests.node.test_served_once` crashes before every single effect."""
    for number in range(100, 160, 7):  # the parts of step 1 are here, and it goes on to the end
        assert crash(tmp_path, number, name) is not None


if __name__ == "__main__":
    import itertools
    import sys
    import tempfile

    first, stride = (int(argument) for argument in [*sys.argv[1:], "0", "1"][:2])
    for name in MEANWHILE:
        with tempfile.TemporaryDirectory() as scratch:
            crashes = 0
            for number in itertools.count(first, stride):
                if crash(Path(scratch), number, name) is None:
                    break
                crashes += 1
            print(f"{name}: {crashes} crashes, all came back", flush=True)
