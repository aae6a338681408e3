"""`btard status` on folders of peers that have ended; tests/node shows running ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from btard.cli.main import main
from btard.node.status_file import locked, write_status
from tests.node.test_status_file import VALUES


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with locked(tmp_path):
        write_status(tmp_path, {**VALUES, "stage": "finished"})
    return tmp_path


@pytest.mark.parametrize("more", [[], ["--watch"]])
def test_a_peer_that_has_finished(folder: Path, more: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--out", str(folder), *more]) == 0
    printed, errors = capsys.readouterr()
    assert errors == ""
    assert printed.splitlines()[0] == "alice     has finished"


@pytest.mark.parametrize("more", [[], ["--watch"]])
def test_for_scripts(folder: Path, more: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--out", str(folder), "--json", *more]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    values = json.loads(line)
    assert (values["stage"], values["running"], values["step"]) == ("finished", False, 12)


@pytest.mark.refuses("GEN-8")
@pytest.mark.parametrize("more", [[], ["--json"], ["--watch"]])
def test_no_peers_folder(tmp_path: Path, more: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--out", str(tmp_path), *more]) == 1
    printed, errors = capsys.readouterr()
    assert printed == ""
    assert errors == f"btard: {tmp_path} is no peer's folder: there is no status.json in it\n"
