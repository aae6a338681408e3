"""Options come from a flag, else from a variable, else from a default."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from btard.cli.options import add_option, add_several, add_switch, one_of, truth, variable


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="test")
    add_option(made, "--delta-ms", "a delay", int, default=1000)
    add_option(made, "--colour", "a choice", one_of("red", "blue"), default="red")
    add_several(made, "--peer", "files", Path)
    add_switch(made, "--force", "overwrite 100 %")
    return made


def test_flag_before_variable_before_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert vars(parser().parse_args([])) == {"delta_ms": 1000, "colour": "red", "peer": [], "force": False}
    monkeypatch.setenv("BTARD_DELTA_MS", "50")
    monkeypatch.setenv("BTARD_COLOUR", "blue")
    monkeypatch.setenv("BTARD_PEER", "a.toml 'b c.toml'")
    monkeypatch.setenv("BTARD_FORCE", "Yes")
    chosen = parser().parse_args([])
    assert chosen.delta_ms == 50
    assert chosen.colour == "blue"
    assert chosen.peer == [Path("a.toml"), Path("b c.toml")]
    assert chosen.force is True
    chosen = parser().parse_args(["--delta-ms", "7", "--colour", "red", "--peer", "x", "--peer", "y"])
    assert (chosen.delta_ms, chosen.colour, chosen.peer) == (7, "red", [Path("x"), Path("y")])


def test_a_switch_that_its_variable_denies_can_still_be_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BTARD_FORCE", "0")
    assert parser().parse_args([]).force is False
    assert parser().parse_args(["--force"]).force is True


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("BTARD_DELTA_MS", "fast"),
        ("BTARD_COLOUR", "green"),
        ("BTARD_FORCE", "perhaps"),
        ("BTARD_PEER", "'open"),
    ],
)
def test_a_bad_variable_is_named(
    name: str, text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, text)
    with pytest.raises(SystemExit) as stopped:
        parser().parse_args([])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert name in error
    assert text in error


@pytest.mark.parametrize("words", [["--delta-ms", "fast"], ["--colour", "green"], ["--peer"]])
def test_a_bad_flag_is_named(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        parser().parse_args(words)
    assert stopped.value.code == 2
    assert f"argument {words[0]}: " in capsys.readouterr().err


def test_required_options_may_come_from_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    def required() -> argparse.ArgumentParser:
        made = argparse.ArgumentParser(exit_on_error=False)
        add_option(made, "--run", "a file", Path, required=True, dest="run_file")
        add_several(made, "--peer", "files", required=True)
        return made

    with pytest.raises(SystemExit):
        required().parse_args([])
    monkeypatch.setenv("BTARD_RUN", "run.toml")
    monkeypatch.setenv("BTARD_PEER", "a b")
    assert vars(required().parse_args([])) == {"run_file": Path("run.toml"), "peer": ["a", "b"]}


def test_help_names_default_and_variable() -> None:
    text = " ".join(parser().format_help().split())
    assert "a delay [default 1000; BTARD_DELTA_MS]" in text
    assert "overwrite 100 % [BTARD_FORCE=yes]" in text
    assert "files [repeatable; BTARD_PEER, separated by spaces]" in text


def test_variables_are_named_for_flags() -> None:
    assert variable("--c-commit-ms") == "BTARD_C_COMMIT_MS"


@settings(deadline=None)
@given(st.sampled_from(["yes", "no", "1", "0", "on", "off", "true", "false"]), st.data())
def test_truth_in_any_case(text: str, data: st.DataObject) -> None:
    mixed = "".join(data.draw(st.sampled_from([c.lower(), c.upper()])) for c in text)
    assert truth(mixed) is (text in ("yes", "1", "on", "true"))
