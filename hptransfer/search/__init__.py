"""The search: studies of small runs under Ray Tune, proposals by design or by Optuna, everything remembered in the store."""

import os

# Ray reads its environment when it is imported, which any module of this package may do first.
# No usage report, and none of Tune's own tables, logs, hints and signal handling.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
os.environ.setdefault("TUNE_PRINT_ALL_TRIAL_ERRORS", "0")
os.environ.setdefault("TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S", "1000000")
# All actors start at once; Tune would start the next when the one before is up. `run_trials` asks for no more than fit.
os.environ.setdefault("TUNE_MAX_PENDING_TRIALS_PG", "1000000")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
# Ray imports mlflow where that is installed, which would write to the user's home and report to its makers.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
# A relative corpus path means the same in a trial as here.
os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
# Ray fails where its user has no home, though nothing of ours is written there.
if os.path.expanduser("~") == "~":
    os.environ["HOME"] = "/"
if os.environ.get("RAY_ADDRESS", "local") == "local":
    # A Ray of our own listens on localhost alone. Where it knows of clusters, it takes 127.0.0.1 for the machine's address.
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    # Others on the machine reach localhost too. Ray's own token would be a file that all may read, in a home that must exist.
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_AUTH_TOKEN", os.urandom(32).hex())
