"""A recipe and a model family from one file each, from the search to the page, on a real Ray; nothing in-tree knows them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

HERE = Path(__file__).parent
EXPERIMENT = {
    "name": "toys",
    "plugins": [str(HERE / "toy_recipe.py"), str(HERE / "toy_family.py")],
    "model": {"family": "window", "depth": 2, "context": 32, "window": 3},
    "base_width": 16,
    "widths": [16, 32],
    "target_width": 64,
    "horizon": {"tokens": 16_384},
    "batch_sequences": 8,
    "schedule": {"warmup_tokens": 1024},
    "evaluation": {"tokens": 4096, "points": 4},
    "optimizers": ["adamw", "toy"],
    "spaces": {"adamw": {"lr": {"low": 0.002, "high": 0.3}, "embedding_lr_ratio": {"values": [1, 4]}}},
    "search": {"trials": 8},
    "validation": {"seeds": 2, "probe_octaves": [1], "ladder": [0.5, 2]},
}


def run(stage: str, *arguments: str, folder: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", f"hptransfer.{stage}", "--experiment", "toys.yaml", *arguments, "--json"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=420, check=False)
    assert done.returncode in (0, 1), done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.xdist_group("ray")
def test_from_search_to_report(tmp_path: Path) -> None:
    (tmp_path / "toys.yaml").write_text(yaml.safe_dump(EXPERIMENT))
    found = run("search", folder=tmp_path)
    assert [(study["arm"], study["runs_new"]) for study in found["studies"]] == [
        ("adamw", 8), ("adamw", 8), ("toy", 8), ("toy", 8)
    ]  # fmt: skip
    predicted = run("transfer", "--force", folder=tmp_path)
    if predicted["refused"]:  # an optimum on the edge of so small a search is no fault of the plugin's
        assert all("edge of its sweep" in reason for reason in predicted["refused"].values()), predicted["refused"]
    else:
        validations = {one["arm"]: one for one in run("validate", folder=tmp_path)["validations"]}
        assert validations["toy"]["runs"][0]["loss"] < 3.4
    summary = run("report", folder=tmp_path)
    assert [answer["arm"] for answer in summary["arms"]] == ["adamw", "toy"]
    page = (tmp_path / "reports/toys/index.html").read_text()
    assert "toy" in page and "#808000" in page
