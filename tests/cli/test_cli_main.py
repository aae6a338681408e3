"""The command line as a whole: help that teaches, one line for a failure, and the status that fits."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import pytest

import btard.cli.main as command
from btard.errors import BtardError

COMMANDS = ("keygen", "init", "check", "peer", "demo")


def python(*words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    return subprocess.run(
        [sys.executable, *words],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def failing_with(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> int:
    def fail(_: argparse.Namespace) -> int:
        raise error

    made = argparse.ArgumentParser()
    made.set_defaults(run=fail)
    monkeypatch.setattr(command, "parser", lambda: made)
    return command.main([])


@pytest.mark.shows("GEN-8")
@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (BtardError("no luck; try again"), 1, "btard: no luck; try again\n"),
        (BtardError("one\ntwo"), 1, "btard: one\nbtard: two\n"),
        (
            FileNotFoundError(2, "No such file or directory", "x.toml"),
            1,
            "btard: x.toml: No such file or directory\n",
        ),
        (OSError("odd"), 1, "btard: odd\n"),
        (KeyboardInterrupt(), 130, "btard: interrupted\n"),
    ],
)
def test_a_failure_is_a_line_and_a_status(
    error: BaseException,
    status: int,
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert failing_with(error, monkeypatch) == status
    assert capsys.readouterr().err == line


def test_a_bug_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ZeroDivisionError):
        failing_with(ZeroDivisionError(), monkeypatch)


@pytest.mark.refuses("GEN-8")
@pytest.mark.parametrize("words", [[], ["train"], ["check"], ["init", "--steps", "many"]])
def test_wrong_usage_is_status_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        command.main(words)
    assert stopped.value.code == 2
    assert "usage: btard" in capsys.readouterr().err


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself_with_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        command.main([name, "--help"])
    assert stopped.value.code == 0
    out = capsys.readouterr().out
    assert f"btard {name} --" in out.partition("example")[2]
    assert "BTARD_" in out


def test_help_names_every_command_and_imports_no_torch() -> None:
    program = (
        "import sys, btard.cli.main as m\ntry: m.main(['--help'])\nfinally: assert 'torch' not in sys.modules"
    )
    done = python("-c", program)
    assert done.returncode == 0, done.stderr
    assert all(f"    {name} " in done.stdout for name in COMMANDS)


@pytest.mark.shows("GEN-8")
def test_as_a_program(tmp_path: Path) -> None:
    program = ("-m", "btard.cli.main")
    made = python(*program, "keygen", "--out", "alice.key", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    assert made.stdout.startswith("[[peers]]")
    (tmp_path / "run.toml").write_text("steps = 3\n")
    failed = python(*program, "check", "--run", "run.toml", "--key", "alice.key", cwd=tmp_path)
    assert failed.returncode == 1
    assert failed.stdout == ""
    assert "btard: run.toml: 'steps' is unknown" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert python(*program, "check", cwd=tmp_path).returncode == 2
