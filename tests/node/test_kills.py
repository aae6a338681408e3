"""`kill -9` of a real peer, in every phase in turn: it is started again and goes on, and nobody is out.

It loses no step, as spec/75-failures.md states.
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from btard.node.status_file import read_status
from btard.node.status_words import lines
from btard_transports.ports import free_endpoints
from tests.node.folder import digits_run, write
from tests.node.processes import Processes

PEERS = range(4)
PHASES = ("COMMIT", "REDUCE", "REVEAL", "VALIDATE", "ACCUSE")
ABSENCE = 60_000  # milliseconds: this machine may be busy


@pytest.mark.shows("MSG-5", "MSG-7", "OPS-4", "OPS-5", "OPS-9")
def test_a_peer_is_killed_in_every_phase_and_comes_back(tmp_path: Path) -> None:
    """In step k in the k-th phase. The others' processes would report a second message for a slot."""
    with free_endpoints(len(PEERS)) as endpoints, Processes(tmp_path) as processes:
        run = digits_run(endpoints, len(PHASES) + 1)
        file = write(tmp_path, evolve(run, timing=run.timing.with_absence(ABSENCE)))
        for peer in PEERS:
            processes.start(peer, file)
        for step, phase in enumerate(PHASES, start=1):
            place = {"epoch": 0, "step": step, "phase": phase}

            def there(place: dict[str, object] = place) -> bool:
                return any(place.items() <= entry.items() for entry in processes.of(0, "phase"))

            processes.until(there)
            processes.signal(0, signal.SIGKILL)
            assert processes.until_over(0) == [-signal.SIGKILL]
            status = read_status(processes.out(0))
            assert not status.running
            assert "it was killed, or the machine went down" in "\n".join(lines(status))
            processes.start(0, file)
            processes.until(lambda step=step: len(processes.of(0, "returned")) == step)
        assert processes.until_over(*PEERS) == [0] * len(PEERS), processes.errors(0)
        summaries = [processes.events[peer][-1] for peer in PEERS]
        assert len({summary["digest"] for summary in summaries}) == 1
        assert [summary["expelled"] for summary in summaries] == [[]] * len(PEERS)
        for peer in PEERS:
            assert processes.errors(peer) == []
            assert (processes.out(peer) / "model.safetensors").exists()
        back = [entry["step"] for entry in processes.of(0, "returned")]
        # It is back where it was killed, or at what was on disk by then, which is what it had sent.
        assert all(step - 1 <= found <= step + 1 for step, found in enumerate(back, start=1))
        # It certifies the step in which it is back, then each that follows, until it is killed again.
        last = processes.of(1, "certified")[-1]["step"]
        done = certified_after_each_return(processes.events[0])
        assert [steps[:1] for steps in done] == [[step] for step in back]
        for steps, end in zip(done, [*back[1:], last + 1], strict=True):
            assert steps == [*range(steps[0], steps[0] + len(steps))]
            assert steps[-1] >= end - 1


def certified_after_each_return(events: list[dict[str, Any]]) -> list[list[int]]:
    done: list[list[int]] = []
    for entry in events:
        if entry["event"] == "returned":
            done.append([])
        elif entry["event"] == "certified" and done:
            done[-1].append(entry["step"])
    return done
