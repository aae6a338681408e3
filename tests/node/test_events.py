"""What a peer reports: everything to its log file, and what a reader wants to standard output or error."""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
import structlog

from btard.errors import BtardError
from btard.node.events import EventLog, json_logger


def lines(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def report(log: EventLog) -> None:
    log("phase", epoch=0, step=1, phase="COMMIT")
    log("progress", step=1, loss=0.5)
    log("progress", step=2, loss=0.25, accuracy=0.75)
    log("expelled", peer=3, step=2, rule="VER-4", kind="ban", reason="broadcast a wrong aggregate")


def test_every_event_is_a_json_line_in_the_file_and_on_standard_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(EventLog(tmp_path / "events.jsonl", as_json=True)) as log:
        report(log)
        printed, errors = capsys.readouterr()
        written = (tmp_path / "events.jsonl").read_text()  # at once, not when the file is closed
    assert printed == written
    assert errors == ""
    events = lines(written)
    assert [event["event"] for event in events] == ["phase", "progress", "progress", "expelled"]
    times = [event.pop("t") for event in events]
    assert times == sorted(times)
    assert events[2] == {"event": "progress", "step": 2, "loss": 0.25, "accuracy": 0.75}


def test_a_reader_is_spared_what_happens_in_every_step(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(EventLog(tmp_path / "events.jsonl", as_json=False)) as log:
        report(log)
    printed, errors = capsys.readouterr()
    assert printed == ""
    assert "COMMIT" not in errors
    assert "loss=0.5" not in errors
    assert "accuracy=0.75" in errors
    assert "rule=VER-4" in errors
    assert len(lines((tmp_path / "events.jsonl").read_text())) == 4


def test_what_the_summary_needs_is_remembered(tmp_path: Path) -> None:
    with closing(EventLog(tmp_path / "events.jsonl", as_json=False)) as log:
        report(log)
    assert log.losses == [(1, 0.5), (2, 0.25)]
    assert log.accuracies == [(2, 0.75)]
    assert [(out["peer"], out["rule"]) for out in log.expelled] == [(3, "VER-4")]


def test_a_second_start_appends(tmp_path: Path) -> None:
    for _ in range(2):
        with closing(EventLog(tmp_path / "events.jsonl", as_json=False)) as log:
            log("started", step=0)
    assert len(lines((tmp_path / "events.jsonl").read_text())) == 2


def test_a_full_disk_is_an_error_of_one_line() -> None:
    log = EventLog(Path("/dev/full"), as_json=False)
    with pytest.raises(BtardError, match="cannot write /dev/full: No space left"):
        log("started", step=0)
    log.close()


def test_with_json_other_modules_warn_in_json_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    json_logger()
    structlog.get_logger().info("unimportant")
    structlog.get_logger().warning("dropped a frame", peer=3)
    printed, errors = capsys.readouterr()
    assert printed == ""
    (line,) = lines(errors)
    assert (line["event"], line["peer"], line["level"]) == ("dropped a frame", 3, "warning")


def test_lines_of_several_threads_do_not_mix(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A backend warns from its own thread."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with closing(EventLog(tmp_path / "events.jsonl", as_json=True)) as log:
            with ThreadPoolExecutor(4) as pool:
                for number in range(2000):
                    pool.submit(log, "error", reason=f"number {number}")
            printed = capsys.readouterr().out
    finally:
        sys.setswitchinterval(interval)
    expected = {f"number {number}" for number in range(2000)}
    assert {line["reason"] for line in lines(printed)} == expected
    assert {line["reason"] for line in lines((tmp_path / "events.jsonl").read_text())} == expected
