"""Connecting to Ray, quietly, and refusing what could never work there."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from hptransfer.base import interrupts
from hptransfer.base.errors import UsageError, first_line, in_words, memory_limit, require_memory
from hptransfer.base.interrupts import held
from hptransfer.base.processes import is_running, parent
from hptransfer.base.scratch import scratch
from hptransfer.experiment import Resources
from hptransfer.runs import Holder, Store

_LOG = logging.getLogger(__name__)

LONGEST = 107 - len("/ray/session_2026-11-27_00-00-00_000000_4194304/sockets/plasma_store")  # a socket's path: 107 bytes
LEAST_FOR_RAY = 6 << 30  # bytes of addresses for Ray's dozens of threads: short of them it aborts, sooner or later
REAPER = Path(__file__).with_name("reaper.py")
HEAD_SECONDS = 2.0  # between two looks at the cluster's head
HEAD_MISSES = 3  # unanswered ones in a row that mean it is gone


@contextmanager
def cluster(store: Store) -> Iterator[None]:
    """The cluster of RAY_ADDRESS, or a Ray of our own on this machine that listens on localhost and ends with the block.

    Our own writes into a temporary folder that no other user reads, and leaves neither files nor processes behind. Within the
    block a cluster that goes away ends the command in one line. Raises UsageError where there is none, or no store.
    """
    address = os.environ.get("RAY_ADDRESS", "local")
    require_memory(LEAST_FOR_RAY, "Ray does not start")
    store.files.settle()
    with _own_ray() if address == "local" else _ray_at(address):
        ended = threading.Event()
        threading.Thread(target=_watch_head, args=(store, address, ended), daemon=True).start()
        try:
            _refuse_unshared(store)
            yield
        finally:
            ended.set()


@contextmanager
def _own_ray() -> Iterator[None]:
    with scratch(LONGEST) as folder, _reaped(folder):  # Ray makes what it is given open to all: its own lies within
        try:
            own = {"_node_ip_address": "127.0.0.1", "_temp_dir": str(folder / "ray"), "include_dashboard": False}
            try:
                with held(), _umask(0o077):
                    _connect("local", **own)
            except Exception as error:  # Ray's own, of no kind of its own
                raise UsageError(f"Ray does not start on this machine{memory_limit()}: {in_words(error)}") from None
            yield
        finally:
            with held():
                ray.shutdown()


@contextmanager
def _reaped(folder: Path) -> Iterator[None]:
    """Ends the processes that have a file of the folder open, with the block or where this process is killed within it."""
    needed = {name: value for name, value in os.environ.items() if name == "LD_LIBRARY_PATH"}  # Python may; no secret goes along
    line = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-I", "-S", REAPER, folder], stdin=line, stdout=line, stderr=subprocess.DEVNULL, env=needed
    ) as reaper:
        reaper.wait()  # it goes on as a process of its own
        try:
            yield
        finally:
            with held():
                reaper.communicate()  # until it is done


@contextmanager
def _umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@contextmanager
def _ray_at(address: str) -> Iterator[None]:
    try:
        _knock(address)
        with held():
            _connect(address)
    except (OSError, RuntimeError, ValueError, RayError) as error:
        raise UsageError(f"no Ray cluster at {address} (RAY_ADDRESS): {first_line(error)}") from None
    try:
        yield
    finally:
        with held():
            ray.shutdown()


def _connect(address: str, **own: Any) -> None:
    ray.init(address=address, logging_level="ERROR", log_to_driver=False, **own)


def _knock(address: str) -> None:
    """OSError at once where nobody listens at ``host:port``: Ray tries for more than five minutes."""
    if "://" in address:
        raise ValueError("Ray Client has no trials of its own; run this inside the cluster, or by `ray job submit`")
    host, _, port = address.rpartition(":")
    if port.isdigit():
        socket.create_connection((host, int(port)), timeout=10).close()


def slots(resources: Resources) -> int:
    """How many trials with these resources run side by side on the nodes that are there now."""
    return sum(_room(node, resources) for node in _nodes())


def require_slots(resources: Resources, count: int = 1) -> None:
    """Raises UsageError when ``count`` trials or workers of these resources can never run side by side."""
    if slots(resources) >= count:
        return
    demand = resources.demand()
    having = "; ".join(_words({name: node.get(name, 0) for name in demand}) for node in _nodes())
    each = f"{count} workers of {_words(demand)} each" if count > 1 else f"a trial's {_words(demand)} (resources)"
    raise UsageError(f"{each} can never fit: the cluster's nodes have {having}")


def has_gpus() -> bool:
    """Whether any node of the cluster has a GPU."""
    return any(node.get("GPU") for node in _nodes())


def is_dead(holder: Holder) -> bool:
    """Whether the process that holds a run is known to be gone: from this machine, or from a node of this cluster."""
    if holder.is_dead:
        return True
    node = next((node for node in ray.nodes() if node["NodeID"] == holder.node), None)
    if node is None:  # of another cluster: nothing is known
        return False
    if not node["Alive"]:
        return True
    try:
        return not ray.get(_on(holder.node, is_running).remote(holder.pid, holder.since), timeout=10)
    except ray.exceptions.RayError:
        return False


def kill(holder: Holder) -> None:
    """Kill the process that holds a run, wherever it runs; a stopped one dies too. Whatever its claim says, nothing but a worker
    of this cluster is killed."""
    _on(holder.node, _kill).remote(holder.pid)


def this_node() -> str:
    """The id of the node that this runs on."""
    return str(ray.get_runtime_context().get_node_id())


def _kill(pid: int) -> None:
    if parent(pid) == os.getppid():  # the node's own process has started both
        os.kill(pid, signal.SIGKILL)


def _on(node: str, function: Any) -> Any:
    """A function as a task on that node which waits for no core."""
    return ray.remote(num_cpus=0)(function).options(
        scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False), max_retries=0
    )


def _nodes() -> list[dict[str, float]]:
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _words(amounts: dict[str, float]) -> str:
    return ", ".join(f"{n / 1e9:.3g} GB" if name == "memory" else f"{n:g} {name}" for name, n in amounts.items())


def _room(node: dict[str, float], resources: Resources) -> int:
    demand = resources.demand()
    if 0 < (share := demand.get("GPU", 0)) < 1:  # a trial's share lies on one GPU
        demand["GPU"] = 1 / int(1 / share + 1e-9)
    return min(int(node.get(name, 0) / value + 1e-9) for name, value in demand.items())


def _watch_head(store: Store, address: str, ended: threading.Event) -> None:
    """End the process where the cluster has gone away under it: Ray itself waits a minute and then aborts with its stack."""
    host, _, port = ray.get_runtime_context().gcs_address.rpartition(":")
    node, misses = this_node(), 0
    while not ended.wait(HEAD_SECONDS):
        misses = 0 if _answers(host, int(port), node) else misses + 1
        if misses >= HEAD_MISSES and not ended.is_set():
            name = "of this command" if address == "local" else f"at {address}"
            gone = "error: the Ray cluster %s is gone; what finished is in %s, and the same command goes on"
            _LOG.error(gone, name, store.location)
            interrupts.end_now(1)


def _answers(host: str, port: int, node: str) -> bool:
    """Whether the head answers and knows this process's node; one that was restarted does not."""
    try:
        socket.create_connection((host, port), timeout=HEAD_SECONDS).close()
        return any(one["NodeID"] == node and one["Alive"] for one in ray.nodes())
    except (OSError, ray.exceptions.RayError):
        return False


def _refuse_unshared(store: Store) -> None:
    """On a cluster of several nodes every node must see the store's folder: a marker written here is looked for there."""
    nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
    if len(nodes) < 2 or not store.is_local:
        return
    marker = Path(store.uri) / f"marker-{uuid.uuid4().hex}"
    try:
        marker.touch()
    except OSError as error:
        raise UsageError(f"store {store.location} cannot be written: {error.strerror}") from None
    try:
        seen = ray.get([_on(node, os.path.exists).remote(str(marker)) for node in nodes])
    finally:
        marker.unlink()
    if not all(seen):
        raise UsageError(
            f"store {store.location} is local to one node of {len(nodes)}; name a shared folder or a URI with --store"
        )
