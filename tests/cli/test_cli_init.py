"""`btard init`: a run file with the identity of task and data, from what the peers sent."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from btard.cli.choose import DELAYS_MS
from btard.cli.options import task_option
from btard.genesis_problems import problems
from btard.keys import KeyPair
from btard.runfile import load
from btard.statemachine.parameters import Timing
from btard.training.loading import make_task
from tests.cli.commands import NAMES, init


@pytest.mark.shows("GEN-1", "GEN-6")
def test_the_run_file_holds_roster_task_and_times(made: Path) -> None:
    run = load(made / "run.toml")
    assert list(problems(run)) == []
    assert tuple(peer.name for peer in run.peers) == NAMES
    for name, peer in zip(NAMES, run.peers, strict=True):
        assert peer.sign_key == KeyPair.load(made / f"{name}.key").sign_public
    task = make_task("digits", {}, run.seed, "cpu", made)
    assert run.parameters.dimension == task.dimension
    assert (run.task.model_digest, run.task.data_digest) == (task.model_digest(), task.data_digest())
    assert run.timing == Timing.derive(**{name: default for name, (default, _) in DELAYS_MS.items()})
    assert (run.parameters.steps, run.parameters.tau, run.parameters.validators) == (7, 0.3, 1)
    assert run.parameters.f_max == 1, "the most that 4 - 1 > 2 f allows"


def test_options_reach_the_run_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    task = ["--task-option", "batch_size=5", "--evaluate-every", "3"]
    numbers = ["--tau", "inf", "--validators", "0", "--f-max", "0", "--window", "9", "--late-limit", "4"]
    numbers += ["--gradient-clip", "2.5", "--delta-ms", "40"]
    options = ["--force", "--name", "other", "--bulk-security", "digest", *task, *numbers]
    before = load(folder / "run.toml").run_id
    assert init(folder, *options) == 0
    run = load(folder / "run.toml")
    assert run.run_id != before
    assert run.run_id.hex() in capsys.readouterr().out
    assert run.name == "other"
    assert dict(run.task.options) == {"batch_size": 5}
    assert run.parameters.tau == float("inf")
    assert (run.parameters.validators, run.parameters.f_max, run.parameters.window) == (0, 0, 9)
    assert run.parameters.late_limit == 4
    assert run.parameters.gradient_clip == 2.5
    assert (run.timing.delta, run.evaluate_every, run.bulk_security) == (40, 3, "digest")


@pytest.mark.parametrize(("seconds", "longer"), [("0.0001", 1), ("2.5", 2500), ("604800", 604_800_000)])
def test_whoever_is_killed_may_be_away_for_so_long(
    folder: Path, capsys: pytest.CaptureFixture[str], seconds: str, longer: int
) -> None:
    """By time-outs that are so much longer; a part of a second counts as a millisecond."""
    assert init(folder, "--force", "--steps", "7", "--restart-seconds", "0") == 0
    assert "a peer that is killed" not in capsys.readouterr().out
    tightest = load(folder / "run.toml").timing
    assert init(folder, "--force", "--steps", "7", "--restart-seconds", seconds) == 0
    run, out = load(folder / "run.toml"), capsys.readouterr().out
    assert list(problems(run)) == []
    assert run.timing == tightest.with_absence(longer)
    assert f"a peer that is killed has {float(seconds):g} s to be back" in out
    assert f"is removed so much later, after {run.timing.t_commit / 1000:.0f} s in COMMIT" in out


@pytest.mark.parametrize("seconds", ["-1", "soon", "nan", "inf", "1e300", "604801", ""])
def test_an_absence_that_makes_no_sense(folder: Path, capsys: pytest.CaptureFixture[str], seconds: str) -> None:
    before = (folder / "run.toml").read_bytes()
    with pytest.raises(SystemExit) as stopped:
        init(folder, "--force", "--restart-seconds", seconds)
    assert stopped.value.code == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "argument --restart-seconds" in line
    assert repr(seconds) in line
    assert (folder / "run.toml").read_bytes() == before


def test_the_same_seed_gives_the_same_run(folder: Path) -> None:
    first = load(folder / "run.toml")
    assert init(folder, "--force", "--steps", "7") == 0
    assert load(folder / "run.toml").run_id == first.run_id
    assert init(folder, "--force", "--steps", "7", "--seed", "other") == 0
    assert load(folder / "run.toml").seed != first.seed


def test_a_run_file_is_not_overwritten_unasked(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (folder / "run.toml").read_bytes()
    assert init(folder, "--steps", "9") == 1
    assert "--force" in capsys.readouterr().err
    assert (folder / "run.toml").read_bytes() == before


@pytest.mark.refuses("GEN-3", "GEN-4")
@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--f-max", "2"], "4 peers less 1 validators do not outvote f_max = 2"),
        (["--validators", "2"], "validators = 2: at most a third"),
        (["--tau", "-1"], "tau = -1.0: must be positive"),
        (["--delta-ms", "0"], "delta = 0: must be positive"),
        (["--task-option", "no_such=1"], "no_such"),
        (["--task", "no_such.py:Task"], "no_such.py"),
        (["--name", "a b"], "name = 'a b'"),
    ],
)
def test_what_makes_no_valid_run_is_said_and_not_written(
    options: list[str], problem: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.remove(folder / "run.toml")
    assert init(folder, *options) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert problem in err
    assert all(line.startswith("btard: ") for line in err.splitlines())
    assert not (folder / "run.toml").exists()


@pytest.mark.refuses("GEN-4")
def test_a_peer_that_stands_twice_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.remove(folder / "run.toml")
    assert init(folder, "--peer", str(folder / "bob.toml")) == 1
    assert "name = 'bob' stands 2 times" in capsys.readouterr().err


def test_a_placeholder_that_nobody_filled_in_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bob = folder / "bob.toml"
    bob.write_text(re.sub(r"^control = .*", 'control = "tcp://HOST:PORT"', bob.read_text(), flags=re.MULTILINE))
    os.remove(folder / "run.toml")
    assert init(folder) == 1
    assert "bob.toml: [[peers]] number 1 ('bob') control = 'tcp://HOST:PORT'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "option"),
    [
        ("batch_size=32", ("batch_size", 32)),
        ("lr=1e-3", ("lr", 0.001)),
        ("flag=true", ("flag", True)),
        ('text="7"', ("text", "7")),
        ("path=a/b.csv", ("path", "a/b.csv")),
        ("empty=", ("empty", "")),
        ("list=[1]", ("list", "[1]")),
        ("day=1979-05-27", ("day", "1979-05-27")),
        ("lines=1\nb=2", ("lines", "1\nb=2")),
        ("equal=a=b", ("equal", "a=b")),
    ],
)
def test_task_options_have_the_type_that_they_look_like(text: str, option: tuple[str, object]) -> None:
    found = task_option(text)
    assert found == option
    assert type(found[1]) is type(option[1])
