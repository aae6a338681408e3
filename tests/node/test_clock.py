"""A wall clock that jumps shows in stamps, and nowhere else; real peers with one are in `test_by_hand`."""

from __future__ import annotations

import itertools
import json
import time
from pathlib import Path
from typing import Any

import pytest

from btard.node.events import EventLog
from btard.node.status_file import locked, read_status
from btard.node.watch import Watch
from tests.node.returns import Returns


def run(folder: Path) -> dict[str, Any]:
    """What peers sign, and what one of them, which was killed, reports and shows until its end."""
    folder.mkdir()
    returns = Returns(folder, 3)
    returns.run(lambda: returns.nodes[0].state.at.number == 1)
    returns.kill(0)
    peer, log = returns.start(0), returns.logs[0]
    events = EventLog(folder / "events.jsonl", None)
    figures = {"loss": None, "accuracy": None, "expelled": []}
    watch = Watch(peer, folder, {}, lambda: figures, events, lambda: 100 * returns.network.now)

    def over() -> bool:
        watch.look()
        return peer.over

    with locked(folder), watch:
        returns.run(over)
    returns.run()
    returns.check_finished()
    returns.close()
    events.close()
    told = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    seconds = [entry.pop("t") for entry in told]
    assert seconds == sorted(seconds)
    assert all(0 <= t < 1000 for t in seconds)
    return {"signed": returns.signed, "reported": log.events, "told": told, **read_status(folder).values}


@pytest.mark.shows("OPS-3")
def test_a_wall_clock_that_jumps_changes_stamps_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two runs with all that a peer writes, one by a clock that goes decades on and back at each look."""
    right = run(tmp_path / "right")
    clock, looks = itertools.cycle((4e9, -1e9, 2e9)), list[float]()

    def jumping() -> float:
        looks.append(next(clock))
        return looks[-1]

    monkeypatch.setattr(time, "time", jumping)
    wrong = run(tmp_path / "wrong")
    assert wrong.pop("written") in looks
    assert right.pop("written") not in looks
    assert right["told"]
    assert wrong == right
