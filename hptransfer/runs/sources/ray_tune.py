"""Folders of Ray Tune: a row for each trial, with its last result. Pickles are never loaded."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hptransfer.base.errors import UsageError, first_line
from hptransfer.runs.sources.rows import flat, parsed, table
from hptransfer.runs.sources.source import Raw, Role

# What Ray adds to every result of the machine, the moment and itself.
_OWN = {
    *("done", "date", "timestamp", "pid", "hostname", "node_ip", "time_this_iter_s", "time_total_s", "time_since_restore"),
    *("timesteps_since_restore", "iterations_since_restore", "checkpoint_dir_name", "should_checkpoint", "experiment_id"),
    *("experiment_tag", "trial_id", "config"),
}


class RayTune:
    """An experiment's folder, or that of one trial. Columns are ``config.…`` and the metrics as they were reported, nested ones
    by dots. A trial that Ray's scheduler stopped early has Ray's word for one that finished: its ``training_iteration`` says
    it."""

    name = "ray"

    def sniff(self, place: str) -> str | None:
        try:
            return "folders of Ray Tune's trials" if _trials(Path(place)) or _states_file(Path(place)) else None
        except (OSError, ValueError):
            return None

    def read(self, place: str) -> Raw:
        root = Path(place)
        try:
            folders = {folder.name: folder for folder in _trials(root)}
            states = _states(_states_file(root))
            if root.name in folders:
                states = {name: state for name, state in states.items() if name == root.name}
            trials = [_Trial(folders.get(name), states.get(name, {})) for name in sorted(folders.keys() | states.keys())]
            rows = [trial.row() for trial in trials]
        except (OSError, ValueError) as error:
            raise UsageError(f"{place} cannot be read: {first_line(error)}") from None
        if not rows:
            raise UsageError(f"{place}: no trial of Ray Tune (folders with result.json or progress.csv, and params.json)")
        frame = table(rows)
        columns: dict[Role, str] = {"run": "trial_id", "state": "state", "step": "training_iteration"}
        roles = {role: name for role, name in columns.items() if name in frame.columns and frame[name].is_not_null().any()}
        lost = sum(not trial.config for trial in trials)
        notes = (f"{lost} trials without a configuration: no params.json that can be read",) if lost else ()
        return Raw(frame, f"Ray Tune folder, {len(rows)} trials", roles, None, notes)


def _trials(root: Path) -> list[Path]:
    """The folders of trials: the place itself or those in it."""
    names = ("params.json", "result.json", "progress.csv")
    if (root / names[0]).is_file() and any((root / name).is_file() for name in names[1:]):
        return [root]
    return sorted({file.parent for name in names for file in root.glob(f"*/{name}") if (file.parent / names[0]).is_file()})


def _states_file(root: Path) -> Path | None:
    """What Ray wrote last of its trials' states: a resumed experiment has one file for each start. Of one trial it lies above."""
    folder = root.parent if (root / "params.json").is_file() else root
    return max(folder.glob("experiment_state-*.json"), default=None)


def _states(file: Path | None) -> dict[str, dict[str, Any]]:
    """What the states file says of each trial, by the name of its folder; nothing of a file that is being written."""
    content = parsed(file.read_bytes()) if file else None
    if not isinstance(content, dict):
        return {}
    found = {}
    for entry in content.get("trial_data") or content.get("checkpoints") or ():  # the latter before Ray 2.5
        state = parsed(entry if isinstance(entry, str) else entry[0])
        if isinstance(state, dict) and (folder := state.get("relative_logdir") or state.get("logdir")):
            found[Path(str(folder)).name] = state
    return found


class _Trial:
    """One trial: its folder, where it has one by now, and what the experiment's file says of it."""

    def __init__(self, folder: Path | None, state: Mapping[str, Any]) -> None:
        self.last = _last_result(folder) if folder else {}
        params = parsed((folder / "params.json").read_bytes()) if folder else None
        config = next((one for one in (params, state.get("config"), self.last.get("config")) if isinstance(one, dict)), {})
        self.config: dict[str, Any] = config
        self._name = str(state.get("trial_id") or self.last.get("trial_id") or (folder.name if folder else "unknown"))
        self._failed = folder is not None and (folder / "error.txt").is_file()
        self._status = state.get("status")

    def row(self) -> dict[str, Any]:
        metrics = {name: value for name, value in self.last.items() if name not in _OWN and not name.startswith("config.")}
        return {"trial_id": self._name, "state": self._word()} | flat(self.config, "config.") | flat(metrics)

    def _word(self) -> str | None:
        """Ray's word for its state; TERMINATED is ``finished``, as elsewhere it means that a run was ended from outside. Without
        the experiment's file: what the trial left behind, None where that says nothing."""
        if self._status:
            return "finished" if self._status == "TERMINATED" else str(self._status)
        if self._failed:
            return "ERROR"
        return "finished" if self.last.get("done") in (True, "True") else None


def _last_result(folder: Path) -> dict[str, Any]:
    """The last whole line of result.json, or of progress.csv."""
    if (file := folder / "result.json").is_file():
        for line in reversed(file.read_bytes().splitlines()):
            if isinstance(found := parsed(line), dict):
                return found
    if (file := folder / "progress.csv").is_file():
        with file.open(newline="", errors="replace") as lines:
            whole = [row for row in csv.DictReader(lines) if None not in row.values()]
        return {name.replace("/", "."): value or None for name, value in whole[-1].items()} if whole else {}
    return {}


SOURCE = RayTune()
