"""How many trials a cluster has room for, and what is said when none."""

import pytest

from hptransfer.base.errors import UsageError
from hptransfer.experiment import Resources
from hptransfer.runs import Store
from hptransfer.search import cluster

CPU_NODE = {"CPU": 8.0, "memory": 32e9}
GPU_NODE = {"CPU": 16.0, "GPU": 2.0, "memory": 64e9}


@pytest.mark.parametrize(
    ("resources", "room"),
    [
        ({}, 24),
        ({"cpus": 3}, 2 + 5),  # whole trials per node
        ({"cpus": 12}, 1),
        ({"cpus": 0.5}, 48),
        ({"gpus": 1}, 2),
        ({"gpus": 0.25}, 8),
        ({"gpus": 0.3}, 6),  # three on each GPU, none across two
        ({"gpus": 2}, 1),
        ({"gpus": 0.1, "cpus": 2}, 8),
        ({"memory_gb": 10}, 3 + 6),
    ],
)
def test_room_is_counted_node_by_node(monkeypatch, resources, room):
    monkeypatch.setattr(cluster, "_nodes", lambda: [CPU_NODE, GPU_NODE])
    assert cluster.slots(Resources(**resources)) == room


@pytest.mark.parametrize(
    ("resources", "count", "says"),
    [
        (
            {"cpus": 17},
            1,
            "a trial's 17 CPU (resources) can never fit: the cluster's nodes have 8 CPU; 16 CPU",
        ),
        ({"memory_gb": 99}, 1, "a trial's 1 CPU, 99 GB (resources) can never fit: the cluster's nodes have 8 CPU, 32 GB; 16"),
        ({"gpus": 4}, 1, "a trial's 1 CPU, 4 GPU (resources) can never fit"),
        ({}, 25, "25 workers of 1 CPU each can never fit"),
    ],
)
def test_what_can_never_fit_is_refused_with_the_reason(monkeypatch, resources, count, says):
    monkeypatch.setattr(cluster, "_nodes", lambda: [CPU_NODE, GPU_NODE])
    with pytest.raises(UsageError) as refused:
        cluster.require_slots(Resources(**resources), count)
    assert str(refused.value).startswith(says)


def test_a_share_of_two_gpus_is_refused():
    with pytest.raises(ValueError, match="neither a share of one GPU nor a whole number"):
        Resources(gpus=1.5)


def test_too_little_memory_for_ray_is_said_before_it_starts(monkeypatch, tmp_path):
    monkeypatch.setattr("resource.getrlimit", lambda what: (4 << 30, 4 << 30))
    with pytest.raises(UsageError, match="`ulimit -v` 4194304: 6291456 are needed"), cluster.cluster(Store(tmp_path / "runs")):
        pass
    assert not (tmp_path / "runs").exists()
