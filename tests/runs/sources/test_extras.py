"""Sources whose tool is not installed."""

import sys

import pytest

from hptransfer.base.errors import UsageError
from hptransfer.runs.sources.source import SOURCES


@pytest.mark.parametrize(
    ("source", "package"), [("wandb-run", "wandb"), ("wandb", "wandb"), ("mlflow", "mlflow"), ("tensorboard", "tensorboard")]
)
def test_one_line_says_what_to_install(source, package, tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    (tmp_path / "run-a.wandb").write_bytes(b":W&B\xe1\xbe\0")
    (tmp_path / "events.out.tfevents.1.a").write_bytes(b"")
    place = {"wandb": "wandb:e/p", "mlflow": "http://127.0.0.1:9"}.get(source, str(tmp_path))
    assert SOURCES.get(source).sniff(place)
    with pytest.raises(UsageError, match="pip install") as error:
        SOURCES.get(source).read(place)
    assert f"hptransfer[{package}]" in str(error.value)
