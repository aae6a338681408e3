"""What a peer reports: everything to its log file, and what a reader wants to standard output or error."""

from __future__ import annotations

import json
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
import structlog

from btard.errors import BtardError
from btard.node.events import EventLog, json_logger, readable_logger
from btard.node.words import Names, Narrator

NAMES = Names(["alice", "bob", "carol", "dave"])


def narrator() -> Narrator:
    readable_logger("alice", NAMES)
    return Narrator(NAMES, steps=10)


def lines(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def report(log: EventLog) -> None:
    log("phase", epoch=0, step=1, phase="COMMIT")
    log("progress", step=1, loss=0.5)
    log("progress", step=2, loss=0.25, accuracy=0.75)
    log("expelled", peer=3, step=2, rule="VER-4", kind="ban", reason="a wrong aggregate", applied=0)


def test_every_event_is_a_json_line_in_the_file_and_on_standard_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(EventLog(tmp_path / "events.jsonl", None)) as log:
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


@pytest.mark.parametrize("verbose", [False, True])
def test_a_reader_gets_lines_with_names_and_is_spared_what_happens_in_every_step(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], verbose: bool
) -> None:
    with closing(EventLog(tmp_path / "events.jsonl", narrator(), verbose)) as log:
        report(log)
    printed, errors = capsys.readouterr()
    assert printed == ""
    told = [line.partition(" alice: ") for line in errors.splitlines()]
    assert all(re.fullmatch(r"\d\d:\d\d:\d\d", stamp) for stamp, _, _ in told)
    texts = [text.partition(", loss")[0] for _, _, text in told]
    ban = "step 2: dave is banned: a wrong aggregate (VER-4)"
    if verbose:
        assert texts == ["step 1: COMMIT", "step 1 of 10", "step 2 of 10", ban]
    else:
        assert texts == ["step 1 of 10", ban]
    assert len(lines((tmp_path / "events.jsonl").read_text())) == 4


def test_what_other_modules_log_has_names_too(capsys: pytest.CaptureFixture[str]) -> None:
    readable_logger("alice", NAMES)
    structlog.get_logger().warning("dropped a frame to a peer: its queue is full", me=0, peer=2, count=4)
    structlog.get_logger().warning("a connection ended", me=0, peer=None, count=1)
    first, second = capsys.readouterr().err.splitlines()
    assert first.endswith(" alice: dropped a frame to a peer: its queue is full (peer carol, count 4)")
    assert second.endswith(" alice: a connection ended (count 1)")


def test_what_the_summary_needs_is_remembered(tmp_path: Path) -> None:
    with closing(EventLog(tmp_path / "events.jsonl", narrator())) as log:
        report(log)
    assert log.losses == [(1, 0.5), (2, 0.25)]
    assert log.accuracies == [(2, 0.75)]
    assert [(out["peer"], out["rule"]) for out in log.expelled] == [(3, "VER-4")]


def test_a_second_start_appends(tmp_path: Path) -> None:
    for _ in range(2):
        with closing(EventLog(tmp_path / "events.jsonl", narrator())) as log:
            log("started", step=0)
    assert len(lines((tmp_path / "events.jsonl").read_text())) == 2


def test_what_an_earlier_process_of_the_run_reported_is_remembered(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    for run in ("another", "this"):
        with closing(EventLog(path, narrator(), run=run)) as log:
            log("listening", run=run, control="", bulk="")
            report(log)
    with path.open("a") as file:
        file.write('5\n{"a": 1}\n{"event": "progress"}\n{"event": "progress", "step": "x"}\n')
        file.write('{"event": "progr')  # killed while it wrote
    with closing(EventLog(path, narrator(), run="this")) as log:
        log("progress", step=2, loss=0.125, accuracy=0.875)  # done again
        log("progress", step=3, loss=0.0625)
    assert log.losses == [(1, 0.5), (2, 0.125), (3, 0.0625)]
    assert log.accuracies == [(2, 0.875)]
    assert len(log.expelled) == 1
    with closing(EventLog(path, narrator(), run="a third")) as log:
        assert (log.losses, log.expelled) == ([], [])
    assert json.loads(path.read_text().splitlines()[-2])["step"] == 2


def test_a_full_disk_is_an_error_of_one_line() -> None:
    log = EventLog(Path("/dev/full"), narrator())
    with pytest.raises(BtardError, match="cannot write /dev/full: No space left on device; make room"):
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
        with closing(EventLog(tmp_path / "events.jsonl", None)) as log:
            with ThreadPoolExecutor(4) as pool:
                for number in range(2000):
                    pool.submit(log, "error", reason=f"number {number}")
            printed = capsys.readouterr().out
    finally:
        sys.setswitchinterval(interval)
    expected = {f"number {number}" for number in range(2000)}
    assert {line["reason"] for line in lines(printed)} == expected
    assert {line["reason"] for line in lines((tmp_path / "events.jsonl").read_text())} == expected
