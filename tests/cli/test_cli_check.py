"""`btard check`: a node that is ready is told so, and whatever is wrong has a line of its own."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest

from btard.cli.main import main
from btard.runfile import load


def check(folder: Path, *more: str) -> int:
    return main(["check", "--run", str(folder / "run.toml"), *more])


def edit(folder: Path, pattern: str, new: str) -> None:
    path = folder / "run.toml"
    text, count = re.subn(pattern, new, path.read_text(), count=1, flags=re.MULTILINE)
    assert count == 1
    path.write_text(text)


@pytest.mark.shows("GEN-5", "GEN-6")
def test_a_node_that_is_ready(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(made, "--key", str(made / "carol.key")) == 0
    out, err = capsys.readouterr()
    assert err == ""
    run = load(made / "run.toml")
    assert run.run_id.hex() in out
    assert re.search(r"2 carol .*<- this peer", out)
    assert "carol is ready" in out
    assert re.search(r"canary +[0-9a-f]{16}", out)
    assert re.search(r"optimizer +SGD: equal updates on any hardware", out)
    # m/n * (n - f)/(n - 1) with n = 4, m = 1, f = 1; and 6 * 3 contributors * 1e-6 * 0.3
    assert "0.25 a step" in out
    assert "5.4e-06 per part and step" in out


def test_a_run_file_alone(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(made) == 0
    assert "nothing wrong with the run file" in capsys.readouterr().out


@pytest.mark.refuses("GEN-1", "GEN-3")
def test_each_problem_of_a_run_file_has_a_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit(folder, r"^t_reduce = \d+", "t_reduce = 5")
    edit(folder, r"^f_max = 1", "f_max = 2\nspeed = 3")
    assert check(folder) == 1
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert all(line.startswith(f"btard: {folder / 'run.toml'}: [") for line in lines)
    assert any("[timing] t_reduce = 5 ms" in line for line in lines)
    assert any("[parameters] 'speed' is unknown" in line for line in lines)
    assert any("do not outvote f_max = 2" in line for line in lines)


@pytest.mark.refuses("GEN-5")
def test_a_key_that_is_not_in_the_roster(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["keygen", "--out", str(tmp_path / "eve.key")]) == 0
    capsys.readouterr()
    assert check(folder, "--key", str(tmp_path / "eve.key")) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "eve.key" in err
    assert "not in the roster" in err
    assert "alice, bob, carol, dave" in err


@pytest.mark.refuses("KEY-2")
def test_a_key_file_that_others_can_read(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "bob.key").chmod(0o644)
    assert check(folder, "--key", str(folder / "bob.key")) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "bob.key" in err


def test_a_key_file_that_is_not_there(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(folder, "--key", str(folder / "nobody.key")) == 1
    assert "nobody.key" in capsys.readouterr().err


def test_an_address_in_use(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    address = load(folder / "run.toml").peers[1].bulk
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", int(address.rpartition(":")[2])))
        other.listen()
        assert check(folder, "--key", str(folder / "bob.key")) == 1
        err = capsys.readouterr().err
        assert f"bulk: cannot listen on {address}: another program" in err
        assert err.count("\n") == 1
        assert check(folder, "--key", str(folder / "alice.key")) == 0


def test_an_address_of_another_machine_needs_one_to_listen_on(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    control = load(folder / "run.toml").peers[1].control
    edit(folder, re.escape(control), control.replace("127.0.0.1", "192.0.2.7"))
    assert check(folder, "--key", str(folder / "bob.key")) == 1
    assert "control: cannot listen on tcp://192.0.2.7:" in capsys.readouterr().err
    assert check(folder, "--key", str(folder / "bob.key"), "--bind-control", control) == 0


@pytest.mark.refuses("GEN-6")
def test_another_model_and_data(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit(folder, r'^model_digest = "\w+"', f'model_digest = "{"00" * 32}"')
    edit(folder, r'^data_digest = "\w+"', f'data_digest = "{"11" * 32}"')
    edit(folder, r"^dimension = \d+", "dimension = 77")
    assert check(folder) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert "the genesis says 77" in lines[0]
    assert "the model is not that of the genesis" in lines[1]
    assert "the data is not that of the genesis" in lines[2]


@pytest.mark.refuses("GEN-6")
def test_a_task_or_device_that_cannot_be_had(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(folder, "--device", "tpu") == 1
    assert "tpu" in capsys.readouterr().err
    edit(folder, r'^name = "digits"', 'name = "mine.py:Mine"')
    assert check(folder) == 1
    assert "mine.py" in capsys.readouterr().err


def test_a_task_that_cannot_compute(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "mine.py").write_text(
        "from btard.training.digits import DigitsTask\n"
        "class Mine(DigitsTask):\n"
        "    def loss(self, indices):\n"
        "        raise RuntimeError('no\\nluck')\n"
    )
    edit(folder, r'^name = "digits"', 'name = "mine.py:Mine"')
    assert check(folder) == 1
    assert capsys.readouterr().err == "btard: Mine cannot compute a gradient: RuntimeError: no luck\n"


def test_a_run_without_defence_is_called_so(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit(folder, r"^tau = 0.3", "tau = inf")
    edit(folder, r"^validators = 1", "validators = 0")
    assert check(folder) == 0
    out = capsys.readouterr().out
    assert "nobody recomputes gradients" in out
    assert "plain mean" in out
