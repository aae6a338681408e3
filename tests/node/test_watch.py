"""What a running peer's status says, in virtual time: whom it waits for, who is out, how it ended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from btard.node.snapshot import awaited, snapshot
from btard.node.status_file import read_status
from btard.node.status_words import lines
from btard.node.watch import Watch
from tests.node.cluster import Cluster

NAMES = ["alice", "bob", "carol", "dave", "erin"]


class Watched:
    """A cluster whose first peer is looked at after each event."""

    def __init__(self, folder: Path, speed: float = 1.0, **options: Any) -> None:
        self.cluster = Cluster(**options)
        self.folder = folder
        self.log = self.cluster.logs[0]
        names = NAMES[: self.cluster.peers]
        constant = {"run": "test", "run_id": "00", "peer": 0, "names": names, "pid": 1}
        peer, network = self.cluster.nodes[0], self.cluster.network
        self.watch = Watch(peer, folder, constant, self._figures, self.log, lambda: speed * network.now)

    def _figures(self) -> dict[str, Any]:
        return {"loss": None, "accuracy": None, "expelled": self.log.of("expelled")}

    def until(self, condition: Any) -> None:
        def look() -> bool:
            self.watch.look()
            return bool(condition())

        self.cluster.network.run(look, 600)

    @property
    def values(self) -> Any:
        return read_status(self.folder).values


def test_before_the_start_it_waits_for_whoever_is_missing(tmp_path: Path) -> None:
    watched = Watched(tmp_path, peers=4)
    cluster = watched.cluster
    cluster.begin(absent=[2])
    watched.until(lambda: cluster.network.now > 5)
    assert watched.values["stage"] == "waiting"
    assert watched.values["awaited"] == [2]
    assert watched.values["reasons"] == ["no connection yet"]
    assert watched.log.of("awaiting") == []  # the line about waiting says so already
    cluster.join(2)
    watched.until(lambda: cluster.nodes[0].state.at.number == 2)
    watched.watch.write("running")
    assert watched.values["stage"] == "running"
    assert watched.values["step"] == 2
    assert watched.values["roster"] == [0, 1, 2, 3]


def test_who_is_waited_for_in_a_step_is_told_ever_more_rarely_and_then_who_is_out(tmp_path: Path) -> None:
    watched = Watched(tmp_path, speed=100.0, peers=4, steps=6)  # a run of milliseconds as one of seconds
    cluster, peer = watched.cluster, watched.cluster.nodes[0]
    cluster.begin()
    watched.until(lambda: peer.state.at.number == 2)
    cluster.network.filter = lambda sender, receiver, frame: [] if 3 in (sender, receiver) else [(0.0, frame)]
    watched.until(lambda: watched.log.of("expelled"))
    told = watched.log.of("awaiting")
    late = [entry for entry in told if entry["seconds"] >= 8 and entry["phase"] == "COMMIT"]
    assert {tuple(entry["missing"]) for entry in late} == {(3,)}
    assert len(late) < 6
    assert all(entry["missing"] == [] for entry in told if entry["phase"] == "SETTLE")
    watched.until(lambda: peer.over)
    watched.watch.write("finished")
    shown = "\n".join(lines(read_status(tmp_path)))
    assert "alice     has finished" in shown
    assert "removed   dave in step 2: " in shown
    assert "members   alice, bob and carol" in shown


def test_a_claim_that_is_judged_is_shown(tmp_path: Path) -> None:
    watched = Watched(tmp_path, peers=5, steps=30, attacks={4: "sign_flip@2"}, compute_time=0.05)
    peer = watched.cluster.nodes[0]
    watched.cluster.begin()
    watched.until(lambda: snapshot(peer)["claims"])
    shown = {(claim["accuser"], claim["accused"]) for claim in snapshot(peer)["claims"]}
    assert shown == {(entry["accuser"], entry["accused"]) for entry in watched.log.of("accused")}
    watched.until(lambda: watched.log.of("expelled"))
    assert snapshot(peer)["claims"] == []
    assert snapshot(peer)["roster"] == [0, 1, 2, 3]


def test_a_status_is_written_once_a_second_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(tmp_path, peers=3, steps=20, latency=(0.01, 0.02))
    written: list[float] = []
    monkeypatch.setattr("btard.node.watch.write_status", lambda *_: written.append(watched.cluster.network.now))
    watched.cluster.begin()
    watched.until(lambda: watched.cluster.nodes[0].over)
    assert watched.cluster.network.now - 1 < len(written) < watched.cluster.network.now + 1


@pytest.mark.parametrize(
    ("error", "stage", "reason"),
    [(KeyboardInterrupt(), "interrupted", "KeyboardInterrupt"), (ValueError("no"), "stopped", "no")],
)
def test_the_last_status_says_how_it_ended(
    tmp_path: Path, error: BaseException, stage: str, reason: str
) -> None:
    watched = Watched(tmp_path, peers=3)
    watched.cluster.begin()
    with pytest.raises(type(error)), watched.watch:
        raise error
    assert (watched.values["stage"], watched.values["reason"]) == (stage, reason)


def test_the_own_computation_counts_as_awaited() -> None:
    cluster = Cluster(peers=3, compute_time=1.0)
    cluster.begin()
    peer = cluster.nodes[0]
    cluster.network.run(lambda: peer.started, 60)
    assert 0 in awaited(peer)
    assert snapshot(peer)["reasons"][0] == "computing"
