"""A user's mistake is one line that names the offending value, and exit code 2. Never a stack trace."""

import subprocess
import sys
from pathlib import Path

import pytest
from records import record_of

from hptransfer import cli
from hptransfer.runs import Store


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def mistake(capsys, command: str, *argv: str) -> str:
    """The one line that the command says before it exits with 2."""
    with pytest.raises(SystemExit) as stopped:
        cli.main([command, *argv])
    printed = capsys.readouterr()
    assert stopped.value.code == 2
    assert printed.out == ""
    lines = printed.err.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--optimizer", "shampo"], "unknown arm or recipe 'shampo'; did you mean 'shampoo'?"),
        (["--optimizer", "xyz"], "unknown arm or recipe 'xyz'; known: adamh, adamuon, adamw"),
        (["--experiment", "quickstrat"], "unknown experiment 'quickstrat'; did you mean 'quickstart'?"),
        (["--experiment", "missing.yaml"], "no file missing.yaml"),
        (["--set", "data.corpus=stdlb"], "unknown corpus 'stdlb'; did you mean 'stdlib'?"),
        (["--set", "data.corpus=no/such"], "corpus no/such: no such folder or file in "),
        (["--set", "data.tokenizer=bpe"], "tokenizer bpe needs data.vocab, from 257 to 1048576 entries (got None)"),
        (["--set", "data.tokenizer=gpt2"], "tokenizer gpt2: No such file or directory (known: bytes, bpe, or the path of a"),
        (["--set", "model.dept=4"], "unknown key 'model.dept'; did you mean 'model.depth'?"),
        (["--set", "horizn.tokens=4"], "unknown key 'horizn'; did you mean 'horizon'?"),
        (["--set", "model.depth=four"], "model.depth: "),
        (
            ["--set", "model.depth=1000000000"],
            "model.depth: more than 10,000 layers, each of which must be built (got 1000",
        ),
        (["--set", "target_width=true"], "target_width: true is no number"),
        (["--set", "widths=[32, true]"], "widths: [32, true] is no number"),
        (["--set", "model.mlp_ratio=true"], "mlp_ratio: true is no number"),
        (["--set", "budget.hours=false"], "budget: hours: false is no number"),
        (["--set", "model..depth=4"], "--set 'model..depth=4' is not of the form a.b=value"),
        (["--set", "model.family=true"], "model: family True is no name"),
        (["--set", "horizon.tpp=20"], "policy 'tokens' needs 'tokens' and nothing else (got tokens "),
        (["--set", "model.depth"], "--set 'model.depth' is not of the form a.b=value"),
        (["--set", "search.trials=-3"], "search.trials: Input should be greater than 0 (got -3)"),
        (["--trials", "0"], "argument --trials: '0' is no whole number from 1 to"),
        (["--trials", "2"], "search.trials 2 is too few: the first 3 compare adamw's embedding_lr_ratio"),
        (["--trials", "6"], "search.trials 6 is too few: wider widths start from the first 7 runs of the smallest"),
        (["--set", "validation.ladder=[2, 1]"], "ladder [2.0, 1.0] is not ascending, of positive factors other than 1"),
        (["--set", "validation.probe_octaves=[-1]"], "probe_octaves [-1.0] are not ascending, above 0 and up to 3"),
        (["--set", "validation.probe_octaves=[1, 1]"], "probe_octaves [1.0, 1.0] are not ascending"),
        (
            ["--set", "validation.ladder=[0.05, 2]"],
            "ladder 0.05 is a horizon of 9216 tokens, which the warm-up of 18432",
        ),
        (["--optimizer", "adamw,adamw"], "names adamw twice"),
        (["--trials", "many"], "argument --trials: 'many' is no whole number"),
        (["--widths", "40"], "width 40 is not a multiple of head_dim 16"),
        (["--widths", "32", "128"], "target_width 128 is also searched"),
        (["--widths", "32", "32"], "name a width twice"),
        (["--parametrization", "mpu"], "mpu"),
        (["--set", "spaces.adamw.lr.low=-0.1"], "lr.low: Input should be greater than or equal to 0 (got -0.1)"),
        (["--set", "schedule.warmup_tokens=900000"], "warmup_tokens 900000 is not below the horizon"),
        (["--set", "horizon.policy=tpp"], "policy 'tpp' needs 'tpp' and nothing else"),
        (["--store", "nonsense://x"], "store nonsense://x"),
        (["--set", "model.depth=2024-13-45"], "--set 'model.depth=2024-13-45': the value is not YAML: "),
        (["--set", f"model.depth={'9' * 5000}"], "the value is not YAML: "),
        (["--set", "model.depth=!!int abc"], "--set 'model.depth=!!int abc': the value is not YAML: "),
        (["--set", f"model.depth={'[' * 2000}"], "the value is not YAML: it is nested too deep"),
        (["--set", "spaces={adamw: {parametrizations: [mup]}}"], "parametrizations: ['mup'] is no mapping of names to values"),
    ],
)
def test_search(here, capsys, argv, says):
    assert says in mistake(capsys, "search", *argv)


def test_a_yaml_file_that_is_none(here, capsys):
    (here / "broken.yaml").write_text("a: [1, 2")
    assert "broken.yaml is not YAML" in mistake(capsys, "search", "--experiment", "broken.yaml")
    (here / "list.yaml").write_text("- 1")
    assert "does not hold a mapping" in mistake(capsys, "search", "--experiment", "list.yaml")


@pytest.mark.parametrize("command", ["transfer", "report"])
def test_an_empty_store(here, capsys, command):
    assert "store runs is empty; run" in mistake(capsys, command)


def test_a_store_of_a_newer_schema(here, capsys, make_run):
    store = Store("runs")
    record = record_of(make_run())
    store.add(record)
    path = here / f"runs/runs/{record.run_id}.json"
    path.write_text(record.model_copy(update={"schema_version": 4}).model_dump_json())
    for command in ("search", "transfer", "report"):
        assert "has schema 4, newer than" in mistake(capsys, command)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "No such file"),
        ("not json", "is not a prediction file (not JSON)"),
        ('{"lr": 1}', "is not a prediction file (no prediction_version in it)"),
        ('{"prediction_version": 99}', "has prediction_version 99"),
        ('{"prediction_version": 4}', "is damaged: "),
    ],
)
def test_a_prediction_file_that_is_none(here, capsys, content, says):
    if content is not None:
        (here / "p.json").write_text(content)
    assert says in mistake(capsys, "validate", "--predictions", "p.json")
    assert says in mistake(capsys, "export", "--prediction", "p.json", "--target", "json")


def test_the_real_command_exits_with_2():
    done = subprocess.run(
        [sys.executable, "-m", "hptransfer.search", "--optimizer", "shampo"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: unknown arm or recipe 'shampo'; did you mean 'shampoo'?\n"
