"""Connecting to Ray, quietly, and refusing what could never work there."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from hptransfer.errors import UsageError
from hptransfer.store import Store


@contextmanager
def cluster(store: Store) -> Iterator[None]:
    """The cluster of RAY_ADDRESS, or a Ray of our own on this machine that listens on localhost and ends with the block."""
    address = os.environ.get("RAY_ADDRESS", "local")
    own = {"_node_ip_address": "127.0.0.1"} if address == "local" else {}
    try:
        _knock(address)
        ray.init(address=address, logging_level="ERROR", log_to_driver=False, include_dashboard=False if own else None, **own)
    except (OSError, RuntimeError, ValueError, RayError) as error:
        raise UsageError(f"no Ray cluster at {address} (RAY_ADDRESS): {str(error).splitlines()[0]}") from None
    try:
        _refuse_unshared(store)
        yield
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """OSError at once where nobody listens at ``host:port``: Ray tries for more than five minutes."""
    host, _, port = address.rpartition(":")
    if port.isdigit():
        socket.create_connection((host, int(port)), timeout=10).close()


def total_cpus() -> int:
    """CPUs of the cluster: as many one-thread trials run side by side."""
    return max(1, int(ray.cluster_resources().get("CPU", 1)))


def _refuse_unshared(store: Store) -> None:
    """On a cluster of several nodes every node must see the store's folder: a marker written here is looked for there."""
    nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
    if len(nodes) < 2 or not store.is_local:
        return
    marker = Path(store.uri) / f"marker-{uuid.uuid4().hex}"
    marker.parent.mkdir(parents=True, exist_ok=True)
    marker.touch()
    look = ray.remote(num_cpus=0)(lambda: marker.exists())
    try:
        seen = ray.get(
            [look.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote() for node in nodes]
        )
    finally:
        marker.unlink()
    if not all(seen):
        raise UsageError(
            f"store {store.location} is local to one node of {len(nodes)}; name a shared folder or a URI with --store"
        )
