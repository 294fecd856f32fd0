"""Event files that torch's writer made."""

import math
from pathlib import Path

import pytest
import yaml
from known_sweep import RUNS, assert_fitted, assert_found, everything, loss

from hptransfer.base.errors import UsageError
from hptransfer.runs.sources.source import read_source
from hptransfer.runs.sources.tensorboard_events import SOURCE

SINGLE = 1e-4  # scalars are kept in single precision


def written(folder: Path, final: float, **hparams: object) -> Path:
    """A run's folder: five steps, of a restart that goes back before its end."""
    from torch.utils.tensorboard import SummaryWriter

    for steps in ((1, 2, 3), (2, 4, 5)):
        with SummaryWriter(str(folder), filename_suffix=f".{steps[0]}") as writer:
            for step in steps:
                writer.add_scalar("val/loss", final if step == 5 else 9.0, step)
            if hparams and steps[-1] == 5:
                writer.add_hparams(hparams, {"hparam/loss": final})
    return folder


def test_numbers_in_names(tmp_path):
    for width, lr in RUNS:
        written(tmp_path / f"adamw/width={width},lr={lr!r}", loss(width, lr))
    before = everything(tmp_path)
    raw, why = read_source(str(tmp_path))
    assert everything(tmp_path) == before
    assert why.startswith("source tensorboard")
    assert dict(raw.roles) == {"run": "run", "step": "step"} and not raw.notes
    assert_found(raw.frame, "width", "lr", "val/loss", exactly=SINGLE)
    assert_fitted(tmp_path)
    assert set(raw.frame["step"]) == {5} and set(raw.frame["run"]) == {f"adamw/width={w},lr={lr!r}" for w, lr in RUNS}


def test_what_was_logged_last_counts_whatever_the_files_are_called(tmp_path):
    """Files of one second are told apart by a number: 10 sorts before 9."""
    folder = written(tmp_path / "w8-lr0.1", 3.0)
    first, last = sorted(folder.iterdir(), key=lambda file: file.stat().st_mtime_ns)
    first.rename(folder / "events.out.tfevents.1700000000.host.1.9")
    last.rename(folder / "events.out.tfevents.1700000000.host.1.10")
    raw = SOURCE.read(str(tmp_path))
    assert raw.frame.select("val/loss", "step").rows() == [(3.0, 5)]


def test_hyperparameters_of_the_plugin(tmp_path):
    """torch writes them into a folder of their own below the run's."""
    for number, (width, lr) in enumerate(RUNS):
        written(tmp_path / f"version_{number}", loss(width, lr), lr=lr, width=width, optimizer="adamw")
    raw = SOURCE.read(str(tmp_path))
    assert_found(raw.frame, "hparams.width", "hparams.lr", "val/loss", exactly=SINGLE)
    assert set(raw.frame["hparams.optimizer"]) == {"adamw"}
    assert not {name for name in raw.frame.columns if name.startswith("version")}


def test_several_settings_of_one_writer_are_several_runs(tmp_path):
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(tmp_path)) as writer:
        for lr in (0.1, 0.2):
            writer.add_hparams({"lr": lr}, {"hparam/loss": 3 + lr}, run_name=str(lr))
    raw = SOURCE.read(str(tmp_path))
    assert sorted(raw.frame["hparams.lr"]) == [0.1, 0.2]


def test_hyperparameters_of_lightning(tmp_path):
    for number, (width, lr) in enumerate(RUNS):
        folder = written(tmp_path / f"version_{number}", loss(width, lr))
        (folder / "hparams.yaml").write_text(yaml.safe_dump({"lr": lr, "model": {"width": width, "betas": [0.9, 0.95]}}))
    raw = SOURCE.read(str(tmp_path))
    assert_found(raw.frame, "hparams.model.width", "hparams.lr", "val/loss", exactly=SINGLE)
    assert set(raw.frame["hparams.model.betas"]) == {"[0.9, 0.95]"}


@pytest.mark.parametrize(
    "text",
    [
        "lr: !!python/object/apply:os.system ['touch {made}']",
        "a: &a {x: 1}\nb: &b {p: *a, q: *a}\n"
        + "".join(f"c{i}: &c{i} {{p: *{'b' if not i else f'c{i - 1}'}}}\n" for i in range(9)),
        "a: &a [1, *a]",
        "lr: [",
    ],
    ids=["code", "aliases", "itself", "broken"],
)
def test_a_hostile_file_beside_is_harmless(text, tmp_path):
    (written(tmp_path / "w1", 3.0) / "hparams.yaml").write_text(text.format(made=tmp_path / "made") if "made" in text else text)
    assert SOURCE.read(str(tmp_path)).frame["val/loss"].to_list() == [3.0]
    assert not (tmp_path / "made").exists()


def test_a_file_that_unfolds_without_end_is_left_out(tmp_path):
    levels = "".join(f"c{i}: &c{i} {{{', '.join(f'k{j}: *c{i - 1}' for j in range(9))}}}\n" for i in range(1, 12))
    (written(tmp_path / "w1", 3.0) / "hparams.yaml").write_text("c0: &c0 {x: 1}\n" + levels)
    assert not [name for name in SOURCE.read(str(tmp_path)).frame.columns if name.startswith("c")]


def test_lines_of_one_chart_are_of_their_run(tmp_path):
    """``add_scalars`` makes a folder for each."""
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(tmp_path / "run" / "w8")) as writer:
        writer.add_scalars("eval/loss", {"c4": 2.0, "wiki": 3.0}, 7)
    raw = SOURCE.read(str(tmp_path))
    assert raw.frame.select("run", "eval/loss/c4", "eval/loss/wiki", "step", "w").rows() == [("run/w8", 2.0, 3.0, 7, 8)]


def test_one_run_is_a_place_too(tmp_path):
    folder = written(tmp_path / "w128", math.nan)
    raw = SOURCE.read(str(folder))
    assert raw.frame.select("run", "w", "step").rows() == [("w128", 128, 5)] and raw.frame["val/loss"].is_nan().all()
    of_file = SOURCE.read(str(sorted(folder.iterdir())[0]))
    assert len(of_file.frame) == 1


def test_a_file_that_is_being_written(tmp_path, capfd):
    file = sorted(written(tmp_path / "w1", 3.0).glob("*.2"))[0]
    file.write_bytes(file.read_bytes()[:-9])
    raw = SOURCE.read(str(tmp_path))
    assert raw.frame.select("val/loss", "step").rows() == [(9.0, 4)]
    assert capfd.readouterr() == ("", "")


def test_another_folder_is_none(tmp_path):
    assert SOURCE.sniff(str(tmp_path)) is None and SOURCE.sniff("\0") is None
    (tmp_path / "events.out.tfevents.1.a").write_bytes(b"")
    with pytest.raises(UsageError):
        SOURCE.read(str(tmp_path))
