"""Runs by hand: whatever goes wrong, a person reads within seconds what it is, and Ctrl-C ends it cleanly."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path

import cbor2
import pytest
from attrs import define, evolve, field

from btard.cli.main import main
from btard.genesis import RunFile
from btard.keys import KeyPair
from btard.node.hello import Hello, encode_hello
from btard_transports.attempts import Cause
from btard_transports.interface import Endpoint
from btard_transports.ports import free_endpoints
from btard_transports.zmq_mesh import ZmqMesh
from tests.node.cluster import key
from tests.node.folder import digits_run, write
from tests.node.processes import Processes, listening
from tests.transports.fabric import Recorder

NAMES = ("alice", "bob", "carol", "dave", "erin", "frank", "grace")
NO_HOST = "tcp://no-such-host.invalid:7000"


def named(run: RunFile) -> RunFile:
    """The same run, whose peers have people's names."""
    peers = [evolve(peer, name=name) for peer, name in zip(run.peers, NAMES, strict=False)]
    return evolve(run, peers=tuple(peers))


@define(eq=False)
class Crowd:
    """Peers that the test plays itself, at their places in the run file."""

    run: RunFile
    meshes: dict[int, ZmqMesh] = field(factory=dict)
    closing: ExitStack = field(factory=ExitStack)

    def __enter__(self) -> Crowd:
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.close()

    def play(self, peer: int, keys: KeyPair) -> None:
        endpoints = {
            index: Endpoint(entry.control, entry.bulk, keys.curve_public if index == peer else entry.curve_key)
            for index, entry in enumerate(self.run.peers)
        }
        mesh = ZmqMesh(peer, {index: endpoints[index] for index in (0, peer)}, keys, linger=0)
        self.meshes[peer] = self.closing.enter_context(mesh)

    def say(self, peer: int, frame: bytes) -> None:
        self.meshes[peer].send(0, frame)

    def turn(self) -> None:
        for mesh in self.meshes.values():
            mesh.step(Recorder(), 0.0)


@pytest.mark.refuses("GEN-7", "GEN-8", "NET-2", "OPS-1", "OPS-2")
def test_a_peer_says_of_each_that_is_missing_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Alice runs; of the others nobody is as the run file says."""
    with free_endpoints(len(NAMES)) as endpoints, Processes(tmp_path) as processes:
        run = named(digits_run(endpoints, 3))
        carol = evolve(run.peers[2], control=NO_HOST)
        run = evolve(run, peers=(*run.peers[:2], carol, *run.peers[3:]))
        file = write(tmp_path, run)
        fitting = Hello(version("btard"), run.run_id, b"", b"", b"", {}, b"one")
        hellos = {
            4: [cbor2.dumps(["hello", {"version": "9.9.9", "news": 1}], canonical=True)],
            5: [encode_hello(evolve(fitting, run=bytes(32)))],
            6: [encode_hello(evolve(fitting, start=start)) for start in (b"one", b"two")],
        }
        with Crowd(run) as crowd:
            crowd.play(3, KeyPair.generate())
            for peer in hellos:
                crowd.play(peer, key(peer))
            processes.start_by_hand(0, file)

            def told() -> bool:
                for peer, frames in hellos.items():
                    for frame in frames:
                        crowd.say(peer, frame)
                crowd.turn()
                return all(any(says in line for line in processes.errors(0)) for says in wanted)

            bob, dave = run.peers[1].control, run.peers[3].control
            wanted = [
                f"alice: run {run.run_id.hex()[:8]}: listening on {run.peers[0].control} (messages)",
                f"bob ({bob}: nobody listens there)",
                f"carol ({NO_HOST}: there is no such host name)",
                f"dave ({dave}: {Cause.REFUSED})",
                f"alice: erin: it runs btard 9.9.9, here {version('btard')}: install the same version",
                "alice: frank: it has another run file (run 00000000, here",
                "alice: grace: two processes say hello with its key; stop one of them",
                "grace (two processes say hello with its key)",
                "alice: refused a connection: its key is that of no member",  # dave's
            ]
            processes.until(told)

            # A second process cannot have the same folder, nor the same addresses.
            command = ["peer", *processes.options(0, file)]
            assert main([*command, "--json"]) == 1
            assert "is in use by a running peer (process " in capsys.readouterr().err
            assert main([*command[:-1], str(tmp_path / "again"), "--json"]) == 1
            assert f"cannot listen on {run.peers[0].control}: another program" in capsys.readouterr().err

            assert main(["status", "--out", str(processes.out(0))]) == 0
            first, *_ = capsys.readouterr().out.splitlines()
            assert first == "alice     is waiting for the others before the start"
            processes.signal(0, signal.SIGINT)
            assert processes.until_over(0) == [130]
        assert processes.errors(0)[-1] == "btard: interrupted"
        assert not processes.left_behind(0)
        assert listening(run) == []
        assert main(["status", "--out", str(processes.out(0))]) == 0
        assert "alice     was interrupted (Ctrl-C)" in capsys.readouterr().out


# -- while training ---------------------------------------------------------------------------------------

ATTACKS = Path(__file__).parent / "attacks.py"
WRONG_CLOCK = """\
import datetime, itertools, time
TEN_YEARS = 3.2e8
real, Real, decades = time.time, datetime.datetime, itertools.cycle((1, 3, 2))
time.time = lambda: real() + TEN_YEARS * next(decades)
class Wrong(Real):
    @classmethod
    def now(cls, tz=None):
        return Real.fromtimestamp(time.time(), tz)
datetime.datetime = Wrong
"""


@pytest.fixture
def running(tmp_path: Path) -> Iterator[tuple[RunFile, Processes]]:
    """Four peers in the middle of a run; carol's clock jumps between ten and thirty years ahead."""
    (tmp_path / "sitecustomize.py").write_text(WRONG_CLOCK)
    with free_endpoints(4) as endpoints, Processes(tmp_path) as processes:
        run = named(digits_run(endpoints, 100_000))
        file = write(tmp_path, run)
        for peer in range(4):
            # Dave's Ctrl-C comes between two messages: who goes after COMMIT, before others have its vectors,
            # stops those instead (spec/README.md).
            more = ["--attack", f"{ATTACKS}:CtrlC@15"] if peer == 3 else []
            processes.start_by_hand(peer, file, *more, modules=[tmp_path] if peer == 2 else [])
        processes.until(lambda: all(_says(processes, peer, "step 1 of 100000") for peer in range(4)))
        yield run, processes


def _says(processes: Processes, peer: int, text: str) -> bool:
    return any(text in line for line in processes.errors(peer))


def _status(processes: Processes, peer: int, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["status", "--out", str(processes.out(peer))]) == 0
    return capsys.readouterr().out


@pytest.mark.shows("GEN-8", "OPS-3")
@pytest.mark.refuses("OPS-3")
def test_who_leaves_is_missed_and_removed_and_a_wrong_clock_does_not_matter(
    running: tuple[RunFile, Processes], capsys: pytest.CaptureFixture[str]
) -> None:
    run, processes = running
    processes.until(lambda: all("is running" in _status(processes, peer, capsys) for peer in (0, 2)))
    shown = _status(processes, 0, capsys)
    assert "alice     is running" in shown
    assert "members   alice, bob" in shown
    # Carol wrote hers in ten years' time or later; by this clock that is no age at all.
    assert "carol     is running" in _status(processes, 2, capsys)

    assert processes.until_over(3) == [130]
    assert processes.errors(3)[-1] == "btard: interrupted"
    assert "dave      was interrupted" in _status(processes, 3, capsys)
    removed = "dave is removed: a quorum did not get its message in time"
    processes.until(lambda: all(_says(processes, peer, removed) for peer in range(3)))
    for peer in range(3):
        own = processes.errors(peer)
        order = ["the link to dave is down", r": waiting for .*dave \(its link is down", removed]
        places = [next((i for i, line in enumerate(own) if re.search(text, line)), -1) for text in order]
        assert -1 not in places, "\n".join(own)
        assert places == sorted(places)
        assert any("members from now on: alice, bob and carol" in line for line in own[places[-1] :])
    events = [json.loads(line) for line in (processes.out(0) / "events.jsonl").read_text().splitlines()]
    (out,) = [event for event in events if event["event"] == "expelled"]
    certified = [event["step"] for event in events if event["event"] == "certified"]
    assert (out["peer"], out["kind"]) == (3, "remove")

    def goes_on() -> bool:
        return json.loads((processes.out(0) / "status.json").read_text())["step"] > max(certified) + 2

    processes.until(goes_on)
    shown = _status(processes, 0, capsys)
    assert "members   alice, bob and carol" in shown
    assert "removed   dave in step " in shown
    for peer in range(3):
        processes.signal(peer, signal.SIGINT)
    assert processes.until_over(0, 1, 2) == [130] * 3
    assert listening(run) == []
