"""Templates of commands: what they name, what is refused, and the command of a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from hptransfer.base.errors import UsageError
from hptransfer.experiment.template import Template


def test_a_command_is_filled_in() -> None:
    template = Template("train --w {width} --lr {lr:.2e} --hidden={lr.hidden} --json '{{\"a\": 1}}' --out {folder}")
    values = {"width": 64, "lr": 0.00123, "lr.hidden": 1e-5, "folder": "/tmp/a b"}
    assert template.render(values) == "train --w 64 --lr 1.23e-03 --hidden=1e-05 --json '{\"a\": 1}' --out '/tmp/a b'"
    assert template.render(values, keep=("folder",)).endswith("--out {folder}")
    assert template.roles == {"hidden"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("train --w {width}", "no {lr}"),
        ("train {lr} {widht}", "unknown placeholder 'widht'; did you mean 'width'"),
        ("train {lr} ${HOME}", "a brace of the command's own is written {{ or }}"),
        ("train {lr.hiden}", "did you mean 'hidden'"),
        ("train {lr} {weight_decay.vector}", "gains and biases have no weight decay"),
        ("train {lr} }", "a brace that stands alone"),
        ("train {lr} {}", "unknown placeholder ''"),
        ("train {lr} {tokens}", "unknown placeholder 'tokens'"),
    ],
)
def test_a_mistake_in_a_template_is_one_line(text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        Template(text).check({"width"})
    assert said in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["pythn3 x {lr}", "./none.sh {lr}", "A=1 no-such-program {lr}", "python3 none.py {lr}"])
def test_a_program_that_is_not_there_is_said(text: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not there"):
        Template(text).check_program(tmp_path)


@pytest.mark.parametrize(
    "text", ["python3 train.py {lr}", "A=1 B=2 ./run.sh {lr}", "cd there && ./none {lr}", "$MY_PYTHON train.py {lr}"]
)
def test_what_the_shell_will_find_is_let_through(text: str, tmp_path: Path) -> None:
    (tmp_path / "run.sh").touch()
    (tmp_path / "train.py").touch()
    Template(text).check_program(tmp_path)


def test_the_files_of_a_command_are_those_it_names(tmp_path: Path) -> None:
    for name in ("train.py", "config.yaml", "run.sh"):
        (tmp_path / name).touch()
    (tmp_path / "folder").mkdir()
    assert Template("python3 train.py --config=config.yaml --out folder {lr}").files(tmp_path) == ["config.yaml", "train.py"]
    assert Template("A=1 python3 train.py data=config.yaml {lr}").files(tmp_path) == ["config.yaml", "train.py"]
    assert Template("./run.sh {lr}").files(tmp_path) == ["./run.sh"]
    assert Template("/bin/sh run.sh {lr}").files(tmp_path) == ["run.sh"]
