import json

import polars as pl
import pytest

from hptransfer import cli
from hptransfer.cli import perform
from hptransfer.testing.ladders import TRUTH, ladder, profiles


@pytest.fixture
def table(tmp_path) -> str:
    path = tmp_path / "ladder.csv"
    ladder(noise=0.001).rename({"N": "params"}).drop("row", "arm", "D").write_csv(path)
    return str(path)


SCALE = ("--scale", "N=params,D=flops/(6*params)", "--option", "draws=100")


def test_a_fit_says_what_the_contract_has(table, capsys):
    assert perform("laws", ["fit", "chinchilla", "--table", table, *SCALE, "--json", "--flops", "1e22"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {"law", "parameters", "optimal", "held_out", "points", "notes"} == {*found}
    assert found["parameters"]["alpha"]["low"] <= TRUTH.alpha <= found["parameters"]["alpha"]["high"]
    (best,) = found["optimal"]
    assert best["N"] == pytest.approx(TRUTH.best_size(1e22), rel=0.1)
    assert best["D"] / best["N"] == pytest.approx(best["tokens_per_parameter"])
    assert found["held_out"]["rows"] > 0


def test_a_place_is_predicted(table, capsys):
    perform("laws", ["predict", "chinchilla", "--table", table, *SCALE, "--at", "N=1e9,D=2e10", "--json"])
    (one,) = json.loads(capsys.readouterr().out)["predicted"]
    assert one["loss"]["value"] == pytest.approx(TRUTH.loss(1e9, 2e10), rel=1e-3)


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["fit"], "needs the name of one law"),
        (["fit", "chinchila"], "did you mean 'chinchilla'?"),
        (["fit", "chinchilla", "--option", "E=["], "--option 'E=[': the value is not YAML"),
        (["fit", "chinchilla", "--option", "E"], "--option 'E' is not of the form"),
        (["fit", "chinchilla", "--option", "estimatr=huber"], "did you mean 'estimator'?"),
        (["fit", "chinchilla", "--flops", "many"], "--flops: 'many' is no finite number above 0"),
        (["compare", "chinchilla"], "compare takes two laws or more"),
        (["sensitivity", "progress"], "sensitivity is of laws of N and D"),
        (["fit", "chinchilla", "--hold-out", "params > 1e12"], "holds for no row"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_mistake_is_one_line(table, capsys, argv, says):
    scale = [] if argv[0] in ("compare", "sensitivity") else ["--scale", "N=params,D=flops/(6*params)"]
    with pytest.raises(SystemExit) as stopped:
        cli.main(["laws", *argv, "--table", table, *scale])
    lines = capsys.readouterr().err.strip().splitlines()
    assert stopped.value.code == 2
    assert len(lines) == 1
    assert says in lines[0]


def test_what_is_compared_has_its_notes_and_a_page(table, tmp_path, capsys):
    page = tmp_path / "page"
    laws = ["compare", "chinchilla,skaling", "--table", table, "--scale", "N=params,D=flops/(6*params)", "--json"]
    perform("laws", [*laws, "--output", str(page)])
    told = capsys.readouterr()
    notes = {one["law"]: one["notes"] for one in json.loads(told.out)["laws"]}
    assert any("estimator" in note for note in notes["chinchilla"])
    text = (page / "law.md").read_text()
    assert all(" ".join(note.split()[:4]) in " ".join(text.split()) for found in notes.values() for note in found)
    assert (page / "tables" / "laws.csv").is_file()


def test_a_column_of_a_table_may_be_the_arms(tmp_path, capsys):
    """Profiles of one law, and of half its tokens per parameter, told apart by their corpus."""
    code = profiles(noise=1e-4).drop("arm", "row")
    prose = code.with_columns(N=pl.col("N") * 2**0.5, D=pl.col("D") / 2**0.5)
    parts = [part.with_columns(corpus=pl.lit(name)) for name, part in (("code", code), ("prose", prose))]
    pl.concat(parts).write_csv(tmp_path / "runs.csv")
    table = ["--table", str(tmp_path / "runs.csv"), "--scale", "arm=corpus"]
    perform("laws", ["fit", "isoflop", *table, "--option", "draws=100", "--json"])
    ratio = json.loads(capsys.readouterr().out)["parameters"]["prose/code.tokens_per_parameter"]
    assert ratio["low"] < ratio["value"] < ratio["high"] and ratio["value"] == pytest.approx(0.5, rel=0.02)
