"""What the watchdog makes of a death, with Ray's own error and Tune's own trial. The rest is in tests/search/test_faults.py."""

import pytest

from hptransfer.runs import Claims, Store
from hptransfer.search.watchdog import Watchdog

# Words of Ray 2.60 from real deaths.
HEAD = "The actor died unexpectedly before finishing this task.\n\tclass_name: ImplicitFunc\n\tpid: 1349\n\tip: 192.0.2.2\n"
NODE = f"{HEAD}The actor died because its node has died. Node Id: 3a5d\n\tthe actor's node was terminated unexpectedly"
PROCESS = (
    f"{HEAD}The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: Worker "
    "unexpectedly exits with a connection error code 2. End of file. There are some potential root causes."
)
AWAY = "The actor 1b5f is unavailable: The actor is temporarily unavailable: RpcError"


@pytest.mark.parametrize(
    ("errors", "held_against_it"),
    [
        ([PROCESS], ["Worker unexpectedly exits with a connection error code 2. End of file"]),
        ([AWAY, AWAY], [AWAY]),  # Tune may report one death twice
        ([NODE], []),
    ],
)
def test_a_death_is_held_against_a_run_unless_its_node_died(errors, held_against_it, tmp_path, monkeypatch):
    # Not above: Ray reads its environment when it is imported, and hptransfer.search sets it.
    from ray.exceptions import RayActorError
    from ray.train._internal.storage import StorageContext
    from ray.tune.experiment import Trial

    monkeypatch.setattr("ray.train._internal.storage._get_ray_train_session_dir", lambda: str(tmp_path))
    storage = StorageContext(str(tmp_path), experiment_dir_name="search", trial_dir_name="trial")
    trial = Trial("trial", config={"run_id": "abc"}, storage=storage, stub=True)
    trial.init_local_path()
    for error in errors:
        trial.handle_error(RayActorError(error_msg=error))
    watchdog = Watchdog(Store(tmp_path / "runs"), "session", 60.0, dict)
    watchdog.on_trial_error(1, [trial], trial)
    assert watchdog.deaths.get("abc", []) == held_against_it


def test_a_run_is_another_commands_as_long_as_its_claim_names_one(tmp_path):
    store = Store(tmp_path / "runs")
    Claims(store).take("abc", session="theirs")
    watchdog = Watchdog(store, "ours", 60.0, dict)
    watchdog.look()
    assert watchdog.elsewhere("abc") and not watchdog.elsewhere("another")
    content = store.files.read("claims/abc.0.json")
    store.files.write("claims/abc.0.json", content.replace(b"theirs", b"thairs"))
    watchdog.look()
    assert not watchdog.elsewhere("abc") and not watchdog.dead
