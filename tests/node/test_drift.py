"""A real peer whose memory goes wrong fetches the certified model and goes on."""

import pytest
import torch

from tests.node.cluster import Cluster


def flip_a_bit(cluster: Cluster, peer: int, after: int) -> None:
    """Spoil one parameter of a peer's model when it has made so many updates."""
    task, calls = cluster.tasks[peer], 0
    update = task.update

    def spoiled(gradient: torch.Tensor) -> None:
        nonlocal calls
        update(gradient)
        calls += 1
        if calls == after:
            vector = task.parameters_vector()
            vector[0] = torch.nextafter(vector[0], torch.tensor(torch.inf))
            task.load_parameters_vector(vector)

    task.update = spoiled  # type: ignore[method-assign]


@pytest.mark.shows("STP-5", "STP-12", "STP-13", "TRN-8")
def test_a_spoiled_model_is_replaced() -> None:
    cluster = Cluster(peers=5, steps=6)
    flip_a_bit(cluster, 2, after=3)
    cluster.run().check_agreement()
    assert not cluster.expelled()
    assert [log.of("drifted") for log in cluster.logs] == [[{"event": "drifted", "step": 4, "peers": [2]}]] * 5
    assert 2 not in next(entry.record for entry in cluster.applied() if entry.record.step == 4).contributors


@pytest.mark.refuses("STP-14")
def test_memory_that_goes_wrong_again_costs_a_peer_its_place() -> None:
    cluster = Cluster(peers=5, steps=6)
    flip_a_bit(cluster, 2, after=2)
    flip_a_bit(cluster, 2, after=4)
    cluster.begin()
    others = [peer for peer in range(5) if peer != 2]
    cluster.network.run(lambda: all(cluster.nodes[peer].over for peer in others), 1e6)
    for peer in others:
        assert [(out["peer"], out["kind"]) for out in cluster.expelled(peer)] == [(2, "remove")]
    assert "STP-3" in (cluster.nodes[2].failure or "")
