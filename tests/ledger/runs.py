"""Runs whose ledgers lie on disk, for the tests that read them."""

from __future__ import annotations

from pathlib import Path

from tests.ledger.small_task import Small
from tests.node.cluster import Cluster

SEED = bytes(32)


def small() -> Small:
    return Small(SEED, "cpu")


def played(folder: Path, attacks: dict[int, str], peers: int = 8, steps: int = 12) -> Cluster:
    """A run with these attacks, until all attackers are out; each peer's ledger lies in folder/pN."""
    base, name = Path(__file__).parent, "small_task.py:Small"
    cluster = Cluster(
        small, peers, steps, attacks=attacks, folder=folder, task_name=name, task_base=base
    ).run_until_expelled(len(attacks), 2)
    cluster.check_expelled()
    for node in cluster.nodes:
        node.ledger.close()
    return cluster
