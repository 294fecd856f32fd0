"""W&B over the network: the package's own `wandb.Api`, with its service and queries, against a server of two pages on this
machine."""

import json
import math
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from hptransfer.base.errors import UsageError
from hptransfer.runs.sources.wandb_api import SOURCE

READ = """
import json, sys
from hptransfer.base.errors import UsageError
from hptransfer.runs.sources.source import read_source
try:
    raw, why = read_source(sys.argv[1])
    columns = {name: [str(cell) for cell in raw.frame[name]] for name in raw.frame.columns}
    print(json.dumps({"why": why, "what": raw.what, "roles": dict(raw.roles), "columns": columns}))
except UsageError as error:
    print(json.dumps({"error": str(error)}))
"""


class Server(BaseHTTPRequestHandler):
    """GraphQL as far as the client asks for it: who asks, and runs."""

    asked: list[dict] = []

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        try:
            question = json.loads(body)
        except ValueError:  # what the service tells of itself
            question = {}
        query, variables = question.get("query", ""), question.get("variables") or {}
        data = {}
        if "query Runs" in query:
            self.asked.append(variables)
            page = int(variables.get("cursor") or 0)
            edges = [{"node": self.node(page), "cursor": "1"}]
            data = {"internalId": "1", "runCount": 2, "readOnly": False}
            data |= {"runs": {"edges": edges, "pageInfo": {"endCursor": "1", "hasNextPage": not page}}}
            data = {"project": data if variables["project"] == "p" else None}
        elif "viewer" in query:
            data = {"viewer": {"id": "1", "entity": "e", "username": "u", "email": "", "flags": "{}", "teams": {"edges": []}}}
        content = json.dumps({"data": data}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    @staticmethod
    def node(page: int) -> dict:
        config = {"lr": {"value": 0.5}, "model": {"value": {"width": 128}}, "_wandb": {"value": {}}}
        summary = {"val/loss": ["NaN", 2.5][page], "_step": 20, "_runtime": 3, "plot": {"_type": "histogram"}}
        node = dict.fromkeys(("group", "jobType", "commit", "historyKeys", "notes", "description", "sweepName"))
        node |= {"id": str(page), "name": f"r{page}", "displayName": "n", "state": ["running", "crashed"][page], "projectId": "1"}
        node |= {"tags": [], "readOnly": False, "createdAt": "2026-01-01T00:00:00", "heartbeatAt": "2026-01-01T00:00:00"}
        node |= {"user": {"name": "u", "username": "u"}, "systemMetrics": "{}", "historyLineCount": 1}
        return node | {"config": json.dumps(config), "summaryMetrics": json.dumps(summary)}

    def do_GET(self):
        self.send_error(404)

    def log_message(self, *args):
        pass


def read(place: str, folder, **environment: str) -> dict:
    """In a process of its own, which ends W&B's service with it, and without a home with keys."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    done = subprocess.run(
        [sys.executable, "-c", READ, place],
        env=own | {"HOME": str(folder), "WANDB_ERROR_REPORTING": "false"} | environment,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0 and done.stderr == "", done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Server.asked.clear()
    yield {"WANDB_BASE_URL": f"http://127.0.0.1:{server.server_port}", "WANDB_API_KEY": "k" * 40}
    server.shutdown()
    server.server_close()


def test_a_project_is_read(server, tmp_path):
    found = read("wandb:e/p", tmp_path, **server)
    assert found["why"].startswith("source wandb:") and "e/p" in found["what"]
    assert found["roles"] == {"run": "id", "state": "state", "step": "_step"}
    columns = found["columns"]
    assert columns["id"] == ["r0", "r1"] and columns["state"] == ["running", "crashed"]
    assert [math.isnan(float(columns["val/loss"][0])), columns["val/loss"][1]] == [True, "2.5"]
    assert columns["config.lr"] == ["0.5"] * 2 and columns["config.model.width"] == ["128"] * 2
    assert not {"plot", "_runtime", "config._wandb"} & columns.keys()
    assert [(asked["entity"], asked["project"]) for asked in Server.asked] == [("e", "p")] * 2


def test_a_sweep_is_read_by_its_address(server, tmp_path):
    found = read("https://wandb.ai/e/p/sweeps/s1?nw=x", tmp_path, **server)
    assert found["columns"]["id"] == ["r0", "r1"]
    assert json.loads(Server.asked[0]["filters"]) == {"sweep": "s1"}


def test_a_project_that_is_not_there(server, tmp_path):
    assert "wandb:e/q" in read("wandb:e/q", tmp_path, **server)["error"]


@pytest.mark.parametrize("environment", [{}, {"WANDB_API_KEY": "k" * 40}], ids=["no key", "no network"])
def test_without_one_line_says_so(environment, tmp_path):
    error = read("wandb:e/p", tmp_path, WANDB_BASE_URL="http://127.0.0.1:9", **environment)["error"]
    assert "network" in error and "WANDB_API_KEY" in error and "\n" not in error and "k" * 40 not in error


@pytest.mark.parametrize(
    ("place", "is_one"),
    [
        ("wandb:e/p", True),
        ("https://wandb.ai/e/p/workspace?nw=1", True),
        ("wandb:e", False),
        ("https://other.org/e/p", False),
        ("wandb", False),
    ],
)
def test_what_it_takes(place, is_one):
    assert bool(SOURCE.sniff(place)) == is_one


def test_another_place_is_one_line():
    with pytest.raises(UsageError):
        SOURCE.read("nothing")
