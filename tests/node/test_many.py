"""Mixed attacks never cost an honest peer its place; `python -m tests.node.many` tries more seeds."""

from __future__ import annotations

import pytest

from tests.node.many import mixed


@pytest.mark.shows("AGR-9", "TOL-1")
@pytest.mark.refuses("VER-1", "VER-2", "VER-3", "VER-4", "VER-5", "VER-6")
@pytest.mark.parametrize("seed", range(3))
def test_no_honest_peer_is_expelled(seed: int) -> None:
    mixed(seed).run().check_agreement()
