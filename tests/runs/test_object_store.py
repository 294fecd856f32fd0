"""A store on an object store: a real S3 API on localhost (moto's server), reached through pyarrow as S3 itself is."""

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import pytest
from pyarrow.fs import FileSystem
from records import record_of

from hptransfer.base.files import StoreUnreachable
from hptransfer.runs import Claims, Store

boto3 = pytest.importorskip("boto3", reason="comes with moto[s3]")
server = pytest.importorskip("moto.server", reason="needs moto[s3], flask and flask-cors: pip install -e '.[dev]'")


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with pytest.MonkeyPatch.context() as environment:
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
            environment.delenv(name, raising=False)
        environment.setenv("AWS_ACCESS_KEY_ID", "test")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "test")
        environment.setenv("AWS_EC2_METADATA_DISABLED", "true")
        running = server.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        running.start()
        url = "http://{}:{}".format(*running.get_host_and_port())
        yield url
        running.stop()


@pytest.fixture
def uri(endpoint: str, request: pytest.FixtureRequest) -> str:
    """A folder of a bucket of the test's own, the endpoint in the URI's query."""
    bucket = f"b{abs(hash(request.node.nodeid))}"
    urllib.request.urlopen(urllib.request.Request(f"{endpoint}/{bucket}", method="PUT"))
    return f"s3://{bucket}/team/runs?endpoint_override={quote(endpoint, safe='')}&region=us-east-1"


def test_records_come_back_as_they_were_and_compact_changes_nothing(uri, make_run):
    store = Store(uri)
    assert store.records() == {} and store.frame().height == 0
    records = {run.run_id: run for lr in (0.01, 0.02, 0.04) if (run := record_of(make_run(lr=lr), 2 + lr))}
    for record in records.values():
        store.add(record)
    store.add(record)  # the same run again is no second one
    frame = store.frame().sort("run_id")
    assert Store(uri).records() == records and frame.height == 3
    assert store.compact() == 3
    late = record_of(make_run(lr=0.08), 2.5)
    store.add(late)
    assert Store(uri).records() == records | {late.run_id: late}
    assert all(store.get(run_id) == record for run_id, record in records.items())
    assert store.get("unknown") is None
    assert store.compact() == 4 and Store(uri).records() == records | {late.run_id: late}


def test_checkpoints_and_predictions(uri):
    store = Store(uri)
    assert store.read_checkpoint("run") is None
    large = bytes(range(256)) * 2**16  # 16 MiB: several parts
    store.write_checkpoint("run", b"old")
    store.write_checkpoint("run", large)
    assert Store(uri).read_checkpoint("run") == large
    store.remove_checkpoint("run")
    assert store.read_checkpoint("run") is None
    store.register_prediction("digest", {"lr": 0.1})
    at = store.registered_at("digest")
    store.register_prediction("digest", {"lr": 0.1})
    assert at is not None and Store(uri).registered_at("digest") == at


def test_of_many_that_claim_a_run_one_gets_it_and_nothing_is_left(uri):
    with ThreadPoolExecutor() as pool:
        taken = list(pool.map(lambda _: Claims(Store(uri)).take("run"), range(4)))
    (claim,) = filter(None, taken)
    with claim:
        assert Store(uri).files.list("claims", "") == ["claims/run.0.json"]
    assert Store(uri).files.list("claims", "") == []


def test_a_damaged_object_is_set_aside_and_the_rest_is_read(uri, make_run, caplog):
    caplog.set_level("WARNING")  # the service that stands in for S3 tells of every request
    store = Store(uri)
    store.add(record := record_of(make_run()))
    bucket, folder = FileSystem.from_uri(uri)
    with bucket.open_output_stream(f"{folder}/runs/broken.json") as stream:
        stream.write(b"{")
    assert list(store.records()) == [record.run_id]
    assert "runs/broken.json is damaged" in caplog.text
    assert bucket.open_input_stream(f"{folder}/damaged/broken.json").read() == b"{"
    caplog.clear()
    assert list(store.records()) == [record.run_id] and caplog.messages == []


def test_the_endpoint_may_come_from_the_environment(uri, endpoint, make_run, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    Store(uri).add(record := record_of(make_run()))
    assert list(Store(uri.split("?")[0]).records()) == [record.run_id]


def test_nothing_is_written_above_the_store(uri, endpoint, make_run):
    """Who may write below bucket/team/runs alone may not put folders' markers beside it."""
    store = Store(uri)
    store.add(record_of(make_run()))
    store.write_checkpoint("run", b"state")
    bucket = uri.removeprefix("s3://").split("/")[0]
    listing = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1").list_objects_v2(Bucket=bucket)
    found = [one["Key"].removeprefix("team/runs/") for one in listing["Contents"]]
    assert found == ["checkpoints/run.pt", f"runs/{record_of(make_run()).run_id}.json"]


def test_an_object_store_that_refuses_is_one_line_at_once_and_one_that_is_away_is_tried_again(uri, make_run):
    query = uri.split("?")[1]
    with pytest.raises(StoreUnreachable, match=r"no-such-bucket.* cannot be written: .*NO_SUCH_BUCKET") as refused:
        Store(f"s3://no-such-bucket/runs?{query}").add(record_of(make_run()))
    assert not refused.value.may_pass
    nobody = quote("http://127.0.0.1:1", safe="")
    with pytest.raises(StoreUnreachable, match=r"cannot be read: .*connect") as away:
        Store(f"s3://bucket/runs?endpoint_override={nobody}&region=us-east-1").get("run")
    assert away.value.may_pass


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.xdist_group("ray")
def test_a_whole_search_on_an_object_store(uri):
    """The trials' processes write to it by the same URI; the driver reads it; the same command finds all done."""
    tiny = ["model.depth=1", "model.context=32", "batch_sequences=4", "horizon.tokens=8192"]
    tiny += ["schedule.warmup_tokens=512", "evaluation.tokens=2048", "search.sampler=random"]
    command = [sys.executable, "-m", "hptransfer.search", *(f"--set={setting}" for setting in tiny)]
    command += ["--optimizer=adamw", "--widths", "32", "--trials=4", "--store", uri, "--json"]
    for new in (4, 0):
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        (study,) = json.loads(done.stdout)["studies"]
        assert (study["runs_total"], study["runs_new"]) == (4, new)
        assert set(study["run_ids"]) == set(Store(uri).records())
