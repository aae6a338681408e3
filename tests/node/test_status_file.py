"""A peer's status file: whole at any time, bounded, and true about whether the peer still runs."""

from __future__ import annotations

import fcntl
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from btard.errors import BtardError
from btard.node.status_file import FILE, FORMAT, LOCK, StatusError, is_held, locked, read_status, write_status
from btard.node.status_words import lines
from tests.node.processes import PATIENCE, ROOT

VALUES: dict[str, Any] = {
    "run": "test",
    "run_id": "0123456789abcdef",
    "peer": 0,
    "names": ["alice", "bob", "carol", "dave"],
    "pid": 1,
    "stage": "running",
    "halted": None,
    "held": [],
    "gave_up": [],
    "spare": 1,
    "reason": None,
    "step": 12,
    "closing_step": 0,
    "steps": 200,
    "phase": "COMMIT",
    "epoch": 1,
    "roster": [0, 1, 2],
    "awaited": [1],
    "reasons": ["its link is down"],
    "links_down": [1, 2],
    "claims": [{"accuser": 0, "accused": 2, "kind": "gradient", "part": 0}],
    "delays": [
        {"peer": 1, "lates": 3, "phases": {"COMMIT": [0.25, 1.5], "ACCUSE": [0.125, 0.125]}},
        {"peer": 2, "lates": 0, "phases": {"COMMIT": [2.5, 1234.5]}},
        {"peer": 3, "lates": 1, "phases": {}},
    ],
    "bytes": {"bulk": 12_340_000, "control": 999},
    "seconds": 4.0,
    "pace": 52.3,
    "loss": [11, 0.51234],
    "accuracy": None,
    "expelled": [{"peer": 3, "step": 7, "rule": "VER-6", "kind": "ban", "reason": "a false claim on peer 1"}],
}


def read(folder: Path) -> list[str]:
    return lines(read_status(folder))


def test_a_running_peer(tmp_path: Path) -> None:
    with locked(tmp_path):
        write_status(tmp_path, VALUES)
        assert read(tmp_path) == [
            "alice     is running",
            "run       test (01234567)",
            "step      12 of 200, COMMIT, epoch 1, 52 steps a minute",
            "members   alice, bob and carol",
            "waits for bob (its link is down), for 4 s",
            "no link   carol",
            "judges    alice accuses carol: gradient claim, part 0",
            "banned    dave in step 7: a false claim on bob (VER-6)",
            "delays    carol: COMMIT 2.5 s (1.23e+03)",
            "delays    bob: COMMIT 0.25 s (1.5), ACCUSE 0.125 s (0.125); LATE 3 times",
            "model     loss 0.5123 (step 11)",
            "sent      12.3 MB of vectors, 999 bytes of messages",
        ]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"stage": "finished"}, "has finished"),
        ({"stage": "interrupted", "reason": "KeyboardInterrupt"}, "was interrupted (Ctrl-C)"),
        ({"stage": "stopped", "reason": "the disk is full"}, "has stopped: the disk is full"),
        ({}, "is not running any more and did not say why: it was killed, or the machine went down"),
    ],
)
def test_a_peer_that_has_ended(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    with locked(tmp_path):
        write_status(tmp_path, {**VALUES, **change})
    first, *rest = read(tmp_path)
    assert first == f"alice     {says}"
    assert not any(line.startswith(("waits for", "no link", "judges")) for line in rest)


def test_a_peer_that_hangs(tmp_path: Path) -> None:
    with locked(tmp_path):
        write_status(tmp_path, VALUES)
        file = tmp_path / FILE
        file.write_text(json.dumps({**json.loads(file.read_text()), "written": 0.0}))
        assert "has said nothing for" in read(tmp_path)[0]
        # Written by a clock that is ahead of this one: no age at all.
        file.write_text(json.dumps({**json.loads(file.read_text()), "written": 1e12}))
        assert read(tmp_path)[0] == "alice     is running"


def test_folders_that_are_no_peers(tmp_path: Path) -> None:
    with pytest.raises(StatusError, match=r"there is no folder .*none: name the one that btard peer --out"):
        read_status(tmp_path / "none")
    with pytest.raises(StatusError, match=r"is no peer's folder: there is no status\.json in it"):
        read_status(tmp_path)
    with locked(tmp_path), pytest.raises(StatusError, match="is just starting; ask again in a moment"):
        read_status(tmp_path)


@pytest.mark.shows("OPS-2")
@pytest.mark.refuses("OPS-2")
def test_a_folder_has_one_running_peer(tmp_path: Path) -> None:
    with locked(tmp_path):
        assert is_held(tmp_path)
        says = r"is in use by a running peer \(process [0-9]+\): stop that one"
        with pytest.raises(StatusError, match=says), locked(tmp_path):
            pass
        assert is_held(tmp_path)
    assert not is_held(tmp_path)
    with locked(tmp_path):
        pass


@contextmanager
def looked_at(folder: Path, monkeypatch: pytest.MonkeyPatch, looks: int) -> Iterator[list[float]]:
    """Look at the lock for so many looks of a peer that starts; yields how long that peer waits."""
    waits: list[float] = []
    with (folder / LOCK).open("a") as file:

        def sleep(seconds: float) -> None:
            waits.append(seconds)
            if len(waits) == looks:
                file.close()

        fcntl.flock(file, fcntl.LOCK_SH)
        monkeypatch.setattr("btard.node.status_file.time.sleep", sleep)
        yield waits


@pytest.mark.shows("OPS-2")
def test_who_looks_at_a_peer_that_starts_does_not_stop_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with looked_at(tmp_path, monkeypatch, 3) as waits, locked(tmp_path):
        assert len(waits) == 3
        assert is_held(tmp_path)


@pytest.mark.refuses("OPS-2")
def test_a_peer_that_starts_waits_for_half_a_second_and_no_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        looked_at(tmp_path, monkeypatch, 10**9) as waits,
        pytest.raises(StatusError, match="is in use by a running peer"),
        locked(tmp_path),
    ):
        pass
    assert sum(waits) == pytest.approx(0.5)


def test_a_killed_process_holds_nothing(tmp_path: Path) -> None:
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom btard.node.status_file import locked\n"
        "with locked(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(600)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        assert is_held(tmp_path)
        process.send_signal(signal.SIGKILL)
        process.wait(PATIENCE)
    assert not is_held(tmp_path)


def test_a_reader_never_sees_half_a_status(tmp_path: Path) -> None:
    over = threading.Event()
    write_status(tmp_path, {**VALUES, "step": 0})

    def write() -> None:
        for number in range(300):
            write_status(tmp_path, {**VALUES, "reason": "x" * (100 * number), "step": number})
        over.set()

    thread = threading.Thread(target=write)
    thread.start()
    steps = [read_status(tmp_path).values["step"]]
    while not over.is_set():
        steps.append(read_status(tmp_path).values["step"])
    thread.join()
    assert steps == sorted(steps)


def test_a_folder_that_is_gone_is_an_error_of_one_line(tmp_path: Path) -> None:
    with pytest.raises(BtardError, match=r"cannot write .*status\.json: No such file"):
        write_status(tmp_path / "gone", VALUES)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=6,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=100) | json_values.map(lambda value: json.dumps(value).encode()))
def test_any_file_is_a_status_or_an_error_of_one_line(tmp_path: Path, data: bytes) -> None:
    (tmp_path / FILE).write_bytes(data)
    with pytest.raises(StatusError) as caught:
        read(tmp_path)
    assert "\n" not in str(caught.value)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.dictionaries(st.sampled_from(sorted(VALUES)), json_values, max_size=3), running=st.booleans())
def test_any_values_are_shown_or_an_error_of_one_line(
    tmp_path: Path, changes: dict[str, Any], running: bool
) -> None:
    (tmp_path / FILE).write_text(json.dumps({"format": FORMAT, "written": 0.0, **VALUES, **changes}))
    status = read_status(tmp_path)
    with suppress(StatusError):
        assert lines(type(status)(status.values, running, status.age))
