"""The Ray that a command starts for itself: nobody but this machine reaches it, and there nobody without its token."""

import json
import subprocess
import sys
from ipaddress import ip_address
from pathlib import Path

import pytest
from own_ray import environment

pytestmark = [pytest.mark.ray, pytest.mark.xdist_group("ray")]

# In a process of its own: Ray reads its environment once.
SCRIPT = """
import json, os, sys
from hptransfer.runs import Store
from hptransfer.search.cluster import cluster
import psutil, ray

with cluster(Store(sys.argv[1])):
    mode = ray.get(ray.remote(lambda: os.environ.get("RAY_AUTH_MODE")).remote())
    listening = {}
    for process in (me := psutil.Process(), *me.children(recursive=True)):
        sockets = [one.laddr.ip for one in process.net_connections("inet") if one.status == psutil.CONN_LISTEN]
        listening.setdefault(process.name(), []).extend(sockets)
    print(json.dumps({"mode": mode, "address": ray.get_runtime_context().gcs_address, "listening": listening}))
    sys.stdout.flush()
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """A Ray of a command's own, without a home to keep a token in; and what its processes listen on."""
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(tmp_path_factory.mktemp("store"))],
        env=environment(HOME="/proc/no-home"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    line = process.stdout.readline()
    assert line, "no Ray started"
    yield json.loads(line)
    process.communicate("")
    assert process.returncode == 0


def test_nothing_listens_beyond_localhost(running):
    listening = running["listening"]
    assert listening["gcs_server"] and listening["raylet"] and sum(map(len, listening.values())) >= 6
    reachable = {name: [ip for ip in ips if not is_loopback(ip)] for name, ips in listening.items()}
    assert not {name: ips for name, ips in reachable.items() if ips}


def is_loopback(text: str) -> bool:
    address = ip_address(text)
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


@pytest.mark.parametrize(("text", "inside"), [("127.0.0.1", True), ("::ffff:127.0.0.1", True), ("::1", True), ("::", False)])
def test_a_loopback_address_is_told_from_all_interfaces(text, inside):
    assert is_loopback(text) is inside


def search(folder: Path, env: dict[str, str]) -> str:
    """The one line that a search says before it exits with 2."""
    command = [sys.executable, "-m", "hptransfer.search", "--widths=32", "--optimizer=adamw", "--set=search.sampler=random"]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize("token", [pytest.param({"RAY_AUTH_TOKEN": "f" * 64}, marks=pytest.mark.slow), {}], ids=["wrong", "none"])
def test_nobody_without_its_token_is_let_in(running, tmp_path: Path, token: dict[str, str]):
    assert running["mode"] == "token"
    guest = environment(
        HOME=str(tmp_path),
        RAY_ADDRESS=running["address"],
        RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0",  # else Ray makes another address of it
        RAY_NUM_REDIS_GET_RETRIES="2",  # seconds that it keeps trying
        RAY_AUTH_MODE="token",
        **token,
    )
    assert search(tmp_path, guest).startswith(f"error: no Ray cluster at {running['address']} (RAY_ADDRESS): ")


def test_an_address_at_which_nobody_listens_is_said_at_once(tmp_path: Path):
    line = search(tmp_path, environment(RAY_ADDRESS="127.0.0.1:1"))
    assert line == "error: no Ray cluster at 127.0.0.1:1 (RAY_ADDRESS): [Errno 111] Connection refused"
