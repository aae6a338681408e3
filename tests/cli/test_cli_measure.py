"""`btard measure`, what init makes of it, and what check says of a machine that is too slow."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import torch
from attrs import evolve

from btard.cli.main import main
from btard.measured import dump_peer_file, load_peer_file
from btard.runfile import dump, load
from btard.statemachine.parameters import Timing
from btard.training.measure import SEED
from tests.cli.commands import NAMES, init

TASK = """
import torch
from btard.training.initial import initialise_
from btard.training.optimizers import SGD
from btard.training.task import Task


class Points(Task):
    def __init__(self, seed, device="cpu", *, hidden=8, torchs_own=False):
        x = torch.arange(64 * 6, dtype=torch.float32).reshape(64, 6).mul(0.37).sin()
        self.x, self.y = x.to(device), (x[:, 0] > x[:, 1]).long().to(device)
        self.data = (self.x, self.y)
        self.examples, self.batch_size = 64, 8
        self.model = torch.nn.Sequential(torch.nn.Linear(6, hidden), torch.nn.Linear(hidden, 2))
        initialise_(self.model, seed)
        self.model.to(device)
        own = torch.optim.SGD if torchs_own else SGD
        self.optimizer = own(self.model.parameters(), 0.1)

    def loss(self, indices):
        return torch.nn.functional.cross_entropy(self.model(self.x[indices]), self.y[indices])

    def evaluate(self):
        return {"loss": float(self.loss(torch.arange(64)))}
"""


@pytest.fixture(scope="module")
def measured(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which alice has measured a task of her own, and bob's machine rounds differently."""
    folder = Path(shutil.copytree(made, tmp_path_factory.mktemp("measured") / "run"))
    (folder / "points.py").write_text(TASK)
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["measure", "--peer", "alice.toml", "--task", "points.py:Points"]) == 0
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)
    (_,), found = load_peer_file(folder / "alice.toml")
    assert found is not None
    for name in NAMES[1:]:
        ((peer,), _) = load_peer_file(folder / f"{name}.toml")
        machine = evolve(found, instruction_set="other", relative=1e-4, absolute=2e-7, gradient_ms=2000.0)
        (folder / f"{name}.toml").write_text(dump_peer_file(peer, machine if name == "bob" else found))
    return folder


def run_init(folder: Path, *more: str) -> int:
    return init(folder, "--force", "--task", "points.py:Points", *more)


@pytest.mark.shows("GEN-10")
def test_a_machine_is_measured_into_its_peers_file(measured: Path, made: Path) -> None:
    peers, found = load_peer_file(measured / "alice.toml")
    assert (peers, None) == load_peer_file(made / "alice.toml")
    assert found is not None
    assert found.task == "points.py:Points"
    assert found.batch_size == 8
    assert found.torch.startswith(torch.__version__)
    times = (found.gradient_ms, found.update_ms, found.sketch_ms, found.clip_ms, found.hash_ms, found.write_ms)
    assert min(times) > 0
    assert not list(measured.glob("journal-*"))  # the model was written to the disk of this folder
    assert 0 <= found.relative < 1e-3
    assert found.deviation(found) == 0.0


@pytest.mark.shows("GEN-10")
def test_init_uses_what_was_measured_and_says_from_what(
    measured: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_init(measured) == 0
    run, out = load(measured / "run.toml"), capsys.readouterr().out
    assert run.numerics == "tolerant"
    assert run.parameters.gradient_rtol >= 16e-4
    assert run.timing.c_commit >= 4 * 4000
    assert re.search(r"c-commit-ms +\d+ +bob takes .* ms, x 4", out)
    assert re.search(r"gradient-rtol +\S+ +2 numerics classes", out)
    assert re.search(r"delta-ms +1000 +assumed: no peer listens yet", out)


@pytest.mark.shows("GEN-10")
def test_what_is_given_holds(measured: Path) -> None:
    given = ["--numerics", "exact", "--gradient-rtol", "0.05", "--c-commit-ms", "77", "--delta-ms", "55"]
    assert run_init(measured, *given) == 0
    run = load(measured / "run.toml")
    assert (run.numerics, run.parameters.gradient_rtol) == ("exact", 0.05)
    assert (run.timing.c_commit, run.timing.delta) == (77, 55)


@pytest.mark.refuses("GEN-10")
def test_measurements_of_another_task_are_refused(measured: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_init(measured, "--task-option", "hidden=9") == 1
    err = capsys.readouterr().err.splitlines()
    assert len(err) == 4
    assert "alice has measured 'points.py:Points' with other options, model or data" in err[0]


@pytest.mark.refuses("GEN-9")
def test_an_optimizer_that_rounds_differently_is_no_choice_for_mixed_hardware(
    measured: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(measured, tmp_path / "run"))
    for name in NAMES:
        text = (folder / f"{name}.toml").read_text()
        (folder / f"{name}.toml").write_text(text.partition("\n#")[0])  # nothing measured
    assert run_init(folder, "--numerics", "tolerant", "--task-option", "torchs_own=true") == 1
    assert "torch.optim.sgd.SGD rounds differently" in capsys.readouterr().err
    assert run_init(folder, "--task-option", "torchs_own=true", "--gradient-rtol", "1e-3") == 0
    run = load(folder / "run.toml")
    (folder / "run.toml").write_text(dump(evolve(run, numerics="tolerant")))
    assert main(["check", "--run", str(folder / "run.toml")]) == 1
    assert "torch.optim.sgd.SGD rounds differently" in capsys.readouterr().err


@pytest.mark.refuses("GEN-10")
def test_a_machine_that_is_too_slow_is_told_so_before_it_starts(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = load(folder / "run.toml")
    bounds = {name: getattr(run.timing, name) for name in ("delta", "delta_bulk", "c_aggregate", "c_reveal")}
    bounds |= dict.fromkeys(("c_commit", "c_validate", "c_accuse", "c_judge", "c_publish"), 1)
    (folder / "run.toml").write_text(dump(evolve(run, timing=Timing.derive(**bounds))))
    assert main(["check", "--run", str(folder / "run.toml"), "--key", str(folder / "dave.key")]) == 1
    out, err = capsys.readouterr()
    assert re.search(r"c_commit +\S+ of 1  too slow", out)
    assert re.search(
        r"c_commit: this machine needs \d+ ms, the run file allows 1.*--c-commit-ms of at least", err
    )


@pytest.mark.refuses("GEN-10", "GEN-8")
def test_a_disk_that_refuses_the_model_is_told_in_a_line(
    folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    where = ["--run", str(folder / "run.toml"), "--key", str(folder / "dave.key"), "--out"]
    assert main(["check", *where, str(tmp_path / "file")]) == 1
    assert f"--out {tmp_path / 'file'} is no folder (File exists)" in capsys.readouterr().err
    draft = f"journal-{SEED.hex()[:16]}.model1-new"
    (tmp_path / draft).symlink_to("/dev/full")
    assert main(["check", *where, str(tmp_path)]) == 1
    assert "cannot write the model to " in (line := capsys.readouterr().err)
    assert "No space left on device; make room on the disk" in line
    assert not list(tmp_path.glob("journal-*"))


@pytest.mark.refuses("GEN-3", "TOL-4")
def test_a_loose_tolerance_is_put_into_words_and_one_that_lets_all_pass_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert init(folder, "--force", "--gradient-rtol", "0.1") == 0
    assert main(["check", "--run", str(folder / "run.toml")]) == 0
    assert (
        "nobody accuses a cheat whose gradient is off by less than 20 % of each part" in capsys.readouterr().out
    )
    assert init(folder, "--force", "--gradient-rtol", "0.2") == 1
    assert "gradient_rtol = 0.2: must lie in 0..0.1" in capsys.readouterr().err
    assert init(folder, "--force", "--numerics", "tolerant", "--gradient-rtol", "1e-7") == 1
    assert "honest peers would be accused below 1e-05" in capsys.readouterr().err
