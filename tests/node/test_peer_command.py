"""`btard peer` where it cannot take part: one line that says what is wrong and what to do, and status 1."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from btard.cli.main import main
from btard.genesis import RunFile
from btard.keys import KeyPair
from btard.node.journal import Journal, journal_path
from btard.node.status_file import read_status
from btard.node.words import Names
from btard.statemachine.messages import Enter
from btard.wire import encode_payload, make_envelope
from btard_transports.ports import free_endpoints
from tests.node.cluster import key
from tests.node.folder import digits_run, with_task, write
from tests.node.read_only import NOBODY, open_to_all, read_only


@pytest.fixture
def run() -> Iterator[RunFile]:
    with free_endpoints(4) as endpoints:
        yield digits_run(endpoints, steps=3)


Peer = Callable[..., str]


@pytest.fixture
def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Peer:
    """Start peer 0, which fails with one line; return that line."""

    def start(run: RunFile, *more: str, key_file: str = "p0.key") -> str:
        file = write(tmp_path, run)
        arguments = ["--run", str(file), "--key", str(tmp_path / key_file), "--out", str(tmp_path / "out")]
        assert main(["peer", *arguments, "--json", *more]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("btard: ")
        return line.removeprefix("btard: ")

    return start


def free(address: str) -> bool:
    """Whether nobody listens there."""
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) != 0


def journal(folder: Path, run: RunFile) -> Path:
    return journal_path(folder / "out", run.run_id)


@pytest.mark.refuses("GEN-5", "GEN-8")
def test_a_key_that_is_not_in_the_roster(tmp_path: Path, run: RunFile, refused: Peer) -> None:
    KeyPair.generate().save(tmp_path / "stranger.key")
    assert "is not in the roster of run 'test'; use the key file of" in refused(run, key_file="stranger.key")
    assert not (tmp_path / "out").exists()


@pytest.mark.refuses("GEN-8")
def test_a_folder_that_cannot_be_written(run: RunFile, capsys: pytest.CaptureFixture[str]) -> None:
    with open_to_all() as folder:
        file, key_file, out = write(folder, run), folder / "p0.key", folder / "out"
        out.mkdir()
        if os.geteuid() == 0:
            os.chown(key_file, NOBODY, NOBODY)
        with read_only(out):
            assert main(["peer", "--run", str(file), "--key", str(key_file), "--out", str(out), "--json"]) == 1
            assert list(out.iterdir()) == []
        (line,) = capsys.readouterr().err.splitlines()
        assert line == (
            f"btard: cannot write {out / 'lock'}: Permission denied; make room on the disk, or make the folder "
            "writable, and start this peer again"
        )


@pytest.mark.refuses("GEN-8")
def test_a_folder_that_cannot_be_made(run: RunFile, capsys: pytest.CaptureFixture[str]) -> None:
    with open_to_all() as folder:
        file, key_file, out = write(folder, run), folder / "p0.key", folder / "out" / "new"
        out.parent.mkdir()
        if os.geteuid() == 0:
            os.chown(key_file, NOBODY, NOBODY)
        with read_only(out.parent):
            assert main(["peer", "--run", str(file), "--key", str(key_file), "--out", str(out), "--json"]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line == (
            f"btard: cannot make the folder {out}: Permission denied; make room on the disk, or make the "
            "folder writable, and start this peer again"
        )


@pytest.mark.refuses("GEN-8")
@pytest.mark.parametrize(("below", "why"), [("", "File exists"), ("more", "Not a directory")])
def test_a_file_in_the_place_of_the_folder(
    tmp_path: Path, run: RunFile, refused: Peer, below: str, why: str
) -> None:
    out = tmp_path / "alice.toml" / below
    (tmp_path / "alice.toml").touch()
    assert refused(run, "--out", str(out)) == f"--out {out} is no folder ({why}): choose another --out"


@pytest.mark.refuses("GEN-8")
@pytest.mark.parametrize(
    ("name", "named"),
    [("lock", "lock"), ("events.jsonl", "events.jsonl"), ("status.new", "status.json")],
)
def test_a_full_disk(tmp_path: Path, run: RunFile, refused: Peer, name: str, named: str) -> None:
    """Of every file that is written when a peer starts; the journal and the models have tests of their own."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).symlink_to("/dev/full")
    line = refused(run)
    assert line.startswith(f"cannot write {tmp_path / 'out' / named}: ")
    assert line.endswith("; make room on the disk, or make the folder writable, and start this peer again")
    if name != "lock":  # of which the end is cut off first, and that device has none
        assert "No space left on device" in line
    assert free(run.peers[0].control)


@pytest.mark.refuses("GEN-6", "GEN-8")
@pytest.mark.parametrize("what", ["model", "data"])
def test_a_model_or_data_of_another_identity(run: RunFile, refused: Peer, what: str) -> None:
    line = refused(with_task(run, **{f"{what}_digest": bytes(32)}))
    assert f"the {what} is not that of the genesis" in line
    assert f"use the {what} that the run file was written for" in line


@pytest.mark.refuses("GEN-8")
def test_a_task_that_cannot_compute_a_gradient(tmp_path: Path, run: RunFile, refused: Peer) -> None:
    from tests.training.toy_task import Toy

    code = (
        "from tests.training.toy_task import Toy\n\n\nclass Bad(Toy):\n"
        "    def __init__(self, seed, device):\n        super().__init__()\n\n"
        "    def loss(self, indices):\n        raise RuntimeError('no\\nway')\n"
    )
    (tmp_path / "bad.py").write_text(code)
    toy = Toy()
    from attrs import evolve

    run = with_task(
        evolve(run, parameters=evolve(run.parameters, dimension=toy.dimension)),
        name="bad.py:Bad",
        options={},
        model_digest=toy.model_digest(),
        data_digest=toy.data_digest(),
    )
    assert refused(run) == "Bad cannot compute a gradient: RuntimeError: no way"
    assert not journal(tmp_path, run).exists()


@pytest.mark.refuses("GEN-8", "OPS-9")
@pytest.mark.parametrize("place", ["control", "bulk"])
def test_a_port_in_use(run: RunFile, refused: Peer, place: str) -> None:
    address = getattr(run.peers[0], place)
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", int(address.rpartition(":")[2])))
        other.listen()
        assert f"cannot listen on {address}" in refused(run)


@pytest.mark.refuses("MSG-7", "GEN-8")
def test_the_journal_of_another_key(tmp_path: Path, run: RunFile, refused: Peer) -> None:
    (tmp_path / "out").mkdir()
    earlier = Journal(journal(tmp_path, run), run.run_id, key(1).sign_public)
    earlier.sign(make_envelope(0, encode_payload(0, Enter(1, 1)), bytes(64)))
    earlier.flush()
    earlier.close()
    line = refused(run)
    assert "is the journal of another peer: use its key, or choose another --out" in line
    assert free(run.peers[0].control)


@pytest.mark.refuses("GEN-8")
def test_an_attack_in_a_file_that_is_not_there(tmp_path: Path, run: RunFile, refused: Peer) -> None:
    assert "there is no file" in refused(run, "--attack", f"{tmp_path}/none.py:Attack@2")
    assert not journal(tmp_path, run).exists()
    assert free(run.peers[0].control)


@pytest.mark.refuses("GEN-8")
@pytest.mark.parametrize(
    ("option", "says"),
    [
        (["--attack", "sign_flop@2"], "no attack is called 'sign_flop'; there are "),
        (["--attack", "sign_flip@0"], "the step after @ must be a number from 1 on"),
        (["--wait", "nan"], "'nan' is no number of seconds"),
        (["--wait", "-1"], "'-1' is no number of seconds"),
        (["--wait", "soon"], "invalid seconds value: 'soon'"),
    ],
)
def test_wrong_usage(option: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["peer", "--run", "run.toml", "--key", "p0.key", *option])
    assert caught.value.code == 2
    assert says in capsys.readouterr().err


@pytest.mark.refuses("GEN-7", "GEN-8")
@pytest.mark.shows("MSG-7")
def test_waiting_in_vain_and_starting_again(
    tmp_path: Path, run: RunFile, capsys: pytest.CaptureFixture[str]
) -> None:
    """A peer that gave up before the start has signed nothing, so it may start again with the same --out."""
    file = write(tmp_path, run)
    command = ["peer", "--run", str(file), "--key", str(tmp_path / "p0.key"), "--json", "--wait", "0.2"]
    for _ in range(2):
        assert main([*command, "--out", str(tmp_path / "out")]) == 1
        printed, errors = capsys.readouterr()
        events = [json.loads(line) for line in printed.splitlines()]
        (stopped,) = (entry for entry in events if entry["event"] == "stopped")
        assert "peers [1, 2, 3] did not join within 0.2 s" in stopped["reason"]
        assert errors.startswith("btard: p1, p2 and p3 did not join within 0.2 s (p1: ")
        assert errors == f"btard: {Names([p.name for p in run.peers]).put(stopped['reason'])}\n"
        assert read_status(tmp_path / "out").values["stage"] == "stopped"
        assert errors == f"btard: {read_status(tmp_path / 'out').values['reason']}\n"
        assert events[-1]["event"] == "summary"
        assert events[-1]["failure"] == stopped["reason"]
        assert not journal(tmp_path, run).exists()
        assert not (tmp_path / "out" / "model.safetensors").exists()
        assert free(run.peers[0].control)
        assert free(run.peers[0].bulk)
