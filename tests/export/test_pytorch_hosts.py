"""Hosts that step a torch optimizer, as far as it shows without them; tests/hosts runs each in itself."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from export.samples import samples
from torch import nn

from hptransfer.export.canonical import Canonical, canonical
from hptransfer.export.hosts import HOSTS


@pytest.fixture(scope="module")
def adamw() -> Canonical:
    return canonical(samples()["adamw"])


def at(record: Canonical, precision: str) -> Canonical:
    return record.model_copy(update={"training": record.known.training.model_copy(update={"precision": precision})})


@pytest.mark.parametrize(
    ("host", "precision", "said"),
    [
        ("transformers", "bfloat16", "bf16: true"),
        ("transformers", "float64", "the model in float64"),
        ("lightning", "bfloat16", "precision: bf16-mixed"),
        ("lightning", "float64", "precision: 64-true"),
        ("litgpt", "bfloat16", "precision: bf16-mixed"),
    ],
)
def test_precision_is_in_the_hosts_words(host: str, precision: str, said: str, adamw: Canonical) -> None:
    assert any(said in text for text in HOSTS.get(host).render(at(adamw, precision)).values())
    assert not any(said in text for text in HOSTS.get(host).render(adamw).values())


def test_litgpt_has_no_float64(adamw: Canonical) -> None:
    assert "float64" in str(HOSTS.get("litgpt").refuse(at(adamw, "float64")))


@pytest.mark.parametrize("host", ["transformers", "lightning", "litgpt"])
def test_what_is_read_at_its_average_is_refused(host: str) -> None:
    for recipe in ("schedulefree-adamw", "sf-normuon"):
        assert "average" in str(HOSTS.get(host).refuse(canonical(samples()[recipe])))


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("hptransfer_optimizer", None)


def test_weights_that_fsdp1_has_flattened_are_no_vectors(path: Path, adamw: Canonical) -> None:
    for name, text in HOSTS.get("litgpt").render(adamw).items():
        (path / name).write_text(text)
    from hptransfer_optimizer import build_optimizer

    model = nn.ModuleDict({"wte": nn.Embedding(256, 256), "fc": nn.Linear(256, 256, bias=False), "lm_head": nn.Linear(256, 256)})
    build_optimizer(model)
    model["fc"].weight = nn.Parameter(torch.zeros(256 * 256))
    with pytest.raises(ValueError, match=r"fc\.weight.* is flat"):
        build_optimizer(model)
