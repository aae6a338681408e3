"""Peers whose machines round differently, as real processes: nobody honest is accused, a cheat is caught."""

from __future__ import annotations

from pathlib import Path

import pytest
from attrs import evolve

from benchmarks.mixed_hardware import machines
from btard_transports.ports import free_endpoints
from tests.node.folder import digits_run, write
from tests.node.processes import Processes

HONEST, CHEAT = range(3), 3
STEPS = 500  # more than are needed


@pytest.mark.shows("GEN-7", "GEN-9", "TRN-20", "TOL-4")
@pytest.mark.refuses("VER-1")
def test_peers_of_several_classes_train_together_and_ban_a_cheat(tmp_path: Path) -> None:
    kinds = machines()
    with free_endpoints(4) as endpoints, Processes(tmp_path) as processes:
        run = digits_run(endpoints, STEPS)
        parameters = evolve(run.parameters, gradient_rtol=4e-3)
        file = write(tmp_path, evolve(run, numerics="tolerant", parameters=parameters))

        def last_step(peer: int) -> int:
            return max(int(entry["step"]) for entry in processes.of(peer, "certified"))

        for peer in (*HONEST, CHEAT):
            kind = kinds[peer % len(kinds)]
            attack = ["--attack", "sign_flip@2"] if peer == CHEAT else []
            processes.start(peer, file, "--threads", str(kind.threads), *attack, settings=kind.settings)
        processes.until(lambda: all(processes.of(peer, "expelled") for peer in HONEST))
        step = max(map(last_step, HONEST)) + 3
        processes.until(lambda: all(last_step(peer) > step for peer in HONEST))
        for peer in HONEST:
            (numerics,) = processes.of(peer, "numerics")
            assert len(numerics["classes"]) == min(len(kinds), 4)
            assert 0 < numerics["deviation"] <= 1e-3
            (out,) = processes.of(peer, "expelled")
            assert (out["peer"], out["kind"]) == (CHEAT, "ban")
            assert not processes.of(peer, "drifted")
            assert {entry["step"] for entry in processes.of(peer, "accused")} <= {out["step"]}
