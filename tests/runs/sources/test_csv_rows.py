"""CSV in the dialects of spreadsheets, trackers and people."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import lzma
import random
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

from hptransfer.base.errors import UsageError
from hptransfer.runs.sources import excel, json_rows, parquet
from hptransfer.runs.sources.cells import with_numbers
from hptransfer.runs.sources.csv_rows import SOURCE
from hptransfer.runs.sources.source import ROW

PLAIN = "width,lr,loss\n128,0.0625,5.2655\n256,0.03125,4.105\n"
RUNS = {"width": [128.0, 256.0], "lr": [0.0625, 0.03125], "loss": [5.2655, 4.105]}


def zstandard(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as packed:
        packed.write(content)
    return bytes(sink.getvalue())


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "Zstandard": zstandard,
}


def write(folder: Path, content: str | bytes, name: str = "runs.csv") -> str:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def numbers(path: str) -> dict[str, list[object]]:
    return with_numbers(SOURCE.read(path).frame).drop(ROW).to_dict(as_series=False)


def refusal(path: str) -> str:
    with pytest.raises(UsageError) as refused:
        SOURCE.read(path)
    assert path in str(refused.value) and "\n" not in str(refused.value)
    return str(refused.value)


DIALECTS = {
    "CSV, commas": PLAIN,
    "CSV, tabs": PLAIN.replace(",", "\t"),
    "CSV, bars": PLAIN.replace(",", "|"),
    "CSV, semicolons": PLAIN.replace(",", ";"),
    "CSV, semicolons, decimal commas": PLAIN.replace(",", ";").replace(".", ","),
    "CSV, tabs, decimal commas": PLAIN.replace(",", "\t").replace(".", ","),
    "CSV, commas, decimal commas": 'width,lr,loss\n128,"0,0625","5,2655"\n256,"0,03125","4,105"\n',
    "CSV, spaces": "  width   lr  loss\n    128 0.0625 5.2655\n    256 0.03125 4.105  \n",
}
TWISTS: dict[str, Callable[[str], str]] = {
    "as it is": lambda text: text,
    "carriage returns and line feeds": lambda text: text.replace("\n", "\r\n"),
    "carriage returns": lambda text: text.replace("\n", "\r"),
    "no end of the last line": lambda text: text.rstrip("\n"),
    "comments before": lambda text: "# exported, by hand; 2025\n#\n" + text,
    "comments after": lambda text: text.replace("256", "# the larger one\n256"),
    "blank lines": lambda text: "\n" + text.replace("\n", "\n\n"),
}


@pytest.mark.parametrize("twist", TWISTS)
@pytest.mark.parametrize("what", DIALECTS)
def test_a_dialect_is_read_and_named(tmp_path: Path, what: str, twist: str) -> None:
    path = write(tmp_path, TWISTS[twist](DIALECTS[what]))
    assert SOURCE.sniff(path)
    assert SOURCE.read(path).what == what and SOURCE.read(path).notes == ()
    assert numbers(path) == RUNS


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "latin-1", "cp1252"])
def test_an_encoding_is_seen(tmp_path: Path, encoding: str) -> None:
    text = PLAIN.replace("lr", "größe \N{EURO SIGN}" if encoding == "cp1252" else "größe")
    path = write(tmp_path, text.encode(encoding))
    assert SOURCE.sniff(path)
    assert list(numbers(path)) == ["width", "größe \N{EURO SIGN}" if encoding == "cp1252" else "größe", "loss"]


@pytest.mark.parametrize("packing", PACKERS)
def test_a_compression_is_seen_by_its_bytes(tmp_path: Path, packing: str) -> None:
    path = write(tmp_path, PACKERS[packing](PLAIN.encode()), "runs")
    assert SOURCE.sniff(path)
    assert SOURCE.read(path).what == f"CSV, commas, {packing}"
    assert numbers(path) == RUNS
    broken = write(tmp_path, PACKERS[packing](PLAIN.encode() * 99)[:-20], "broken.csv")
    assert "cannot be read" in refusal(broken)


def test_rows_are_numbered_by_their_lines(tmp_path: Path) -> None:
    path = write(tmp_path, '# made by hand\nwidth,note,loss\n128,"two\nlines",5\n\n256,,4\n')
    assert SOURCE.read(path).frame[ROW].to_list() == [4, 6]
    assert SOURCE.read(path).frame["note"].to_list() == ["two\nlines", None]


def test_quotes_hold_what_separates(tmp_path: Path) -> None:
    path = write(tmp_path, 'width, "opt{lr, wd}",loss\n128, "0.1","a ""b"""\n')
    assert SOURCE.read(path).frame.drop(ROW).to_dict(as_series=False) == {
        "width": ["128"],
        "opt{lr, wd}": ["0.1"],
        "loss": ['a "b"'],
    }


def test_two_columns_of_one_name_are_kept_apart_and_said(tmp_path: Path) -> None:
    raw = SOURCE.read(write(tmp_path, "lr,loss,loss,loss (2),loss\n1,2,3,4,5\n"))
    assert raw.frame.columns[1:] == ["lr", "loss", "loss (3)", "loss (2)", "loss (4)"]
    assert raw.frame.row(0)[1:] == ("1", "2", "3", "4", "5")
    (note,) = raw.notes
    assert "'loss'" in note and "3" in note and "'loss (3)'" in note


def test_columns_without_a_name(tmp_path: Path) -> None:
    raw = SOURCE.read(write(tmp_path, ",lr,loss,\n0,1,2,\n1,2,3,,,\n"))
    assert raw.frame.columns[1:] == ["column 1", "lr", "loss"]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (PLAIN + "512,0.1\n", "line 4", ("2 cells", "header has 3")),
        (PLAIN + "512,0,0625,3,1\n", "line 4", ("5 cells", "commas", "quotes")),
        (PLAIN + '512,"0.1,4\n', "line 4", ("quotes",)),
        ("128,0.0625,5.2\n256,0.03,5.1\n", "line 1", ("names",)),
        ("# made\n128;0,0625;5,2\n128;0,03;5,1\n", "line 2", ("names",)),
    ],
)
def test_a_broken_row_is_named(tmp_path: Path, text: str, line: str, words: tuple[str, ...]) -> None:
    said = refusal(write(tmp_path, text))
    assert line in said and all(word in said for word in words)


@pytest.mark.parametrize("text", ["", " \n\n", "width,lr,loss\n", "# width\n"])
def test_nothing_to_read(tmp_path: Path, text: str) -> None:
    assert "no rows" in (said := refusal(write(tmp_path, text))) or "empty" in said


def test_no_such_file(tmp_path: Path) -> None:
    assert SOURCE.sniff(str(tmp_path / "none.csv")) is None and SOURCE.sniff(str(tmp_path)) is None
    assert "no such file" in refusal(str(tmp_path / "none.csv"))


def test_rows_that_were_commented_out_are_said(tmp_path: Path) -> None:
    raw = SOURCE.read(write(tmp_path, PLAIN + "#512,0.01,1.0\n# the last was wrong\n"))
    assert len(raw.frame) == 2
    assert len(raw.notes) == 1 and " 1 " in raw.notes[0] and "line 4" in raw.notes[0]


def test_labels_that_begin_as_comments_do(tmp_path: Path) -> None:
    assert numbers(write(tmp_path, "run,lr\n#1,0.1\n#2,0.2\n"))["lr"] == [0.1, 0.2]
    assert numbers(write(tmp_path, "#,lr\n1,0.1\n2,0.2\n"))["#"] == [1, 2]


@pytest.mark.parametrize("header", ["# width,lr,loss", "#width, lr, loss"])
def test_a_header_in_a_comment(tmp_path: Path, header: str) -> None:
    assert numbers(write(tmp_path, PLAIN.replace("width,lr,loss", header))) == RUNS
    assert numbers(write(tmp_path, PLAIN.replace("width,lr,loss", "# width lr loss").replace(",", " "))) == RUNS


def test_the_separator_that_excel_is_told(tmp_path: Path) -> None:
    assert numbers(write(tmp_path, "sep=;\n" + PLAIN.replace(",", ";"))) == RUNS
    assert numbers(write(tmp_path, "sep=:\n" + PLAIN)) == RUNS  # which it is not: a title


def test_a_table_of_markdown(tmp_path: Path) -> None:
    text = "| width | lr | loss |\n|:--|---:|---|\n| 128 | 0.0625 | 5.2655 |\n| 256 | 0.03125 | 4.105 |\n"
    assert numbers(write(tmp_path, text, "runs.md")) == RUNS


def test_a_chart_of_wandb_is_no_table_of_runs(tmp_path: Path) -> None:
    path = write(tmp_path, '"Step","a - val/loss","a - val/loss__MIN","a - val/loss__MAX"\n"1","2","2","2"\n')
    assert "chart" in refusal(path) and "runs table" in refusal(path)


def test_tables_of_tools_are_known_by_their_columns(tmp_path: Path) -> None:
    raw = SOURCE.read(write(tmp_path, '"Name","State","Created","Runtime","ID","lr"\n"a","finished","x","1","q1","0.1"\n'))
    assert "W&B" in raw.what and raw.roles == {"run": "ID", "state": "State"}
    raw = SOURCE.read(write(tmp_path, "number,value,datetime_start,params_lr,state\n0,2.5,x,0.1,COMPLETE\n"))
    assert "Optuna" in raw.what and raw.roles == {"run": "number", "state": "state", "loss": "value"}


def test_a_configuration_in_one_cell_becomes_columns(tmp_path: Path) -> None:
    """As the data frame of W&B's documentation has it: dictionaries as Python prints them."""
    rows = [
        ("", "summary", "config", "name"),
        (0, {"loss": float("nan")}, {"lr": 0.1, "model": {"width": 128}, "note": "a, nan, b", "betas": [0.9, 0.95]}, "a"),
        (1, {"loss": 2.5}, {"lr": 1e-05, "model": {"width": 256}, "note": None}, "b"),
    ]
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    found = numbers(write(tmp_path, text.getvalue()))
    assert found["config.lr"] == [0.1, 1e-5] and found["config.model.width"] == [128, 256]
    assert found["config.note"] == ["a, nan, b", None] and found["config.betas"] == ["[0.9, 0.95]", None]
    assert str(found["summary.loss"]) == "[nan, 2.5]"


@pytest.mark.parametrize(
    "content", [b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"", b"Some words, and more.\nNo table\nat all, is it, this?"]
)
def test_what_is_no_table_is_not_taken(tmp_path: Path, content: bytes) -> None:
    assert SOURCE.sniff(write(tmp_path, content, "file")) is None


def test_a_large_file_is_told_by_its_start(tmp_path: Path) -> None:
    """Rows of any length, so that the start ends within one of them."""
    path = write(tmp_path, "width;note;loss\n" + "".join(f"128;{'x' * (number % 997)};5,{number}\n" for number in range(1000)))
    assert SOURCE.read(path).what == "CSV, semicolons, decimal commas"
    assert len(SOURCE.read(path).frame) == 1000


@pytest.mark.parametrize("seed", range(200))
def test_any_dialect_reads_as_the_plain_one(tmp_path: Path, seed: int) -> None:
    """A table in a dialect drawn by chance, its columns shuffled, is the table."""
    draw = random.Random(seed)
    count = draw.randint(3, 30)
    table: dict[str, list[object]] = {
        "width": [draw.choice([128, 256, 512, 1024]) for _ in range(count)],
        "lr": [draw.choice([10 ** draw.uniform(-4, 0), 2.0 ** -draw.randint(1, 12)]) for _ in range(count)],
        "val/loss": [draw.choice([None, round(draw.uniform(2, 6), draw.randint(1, 6))]) for _ in range(count)],
        "opt, name": [draw.choice(["adamw", "muon; no decay", 'the "new" one', "größer", "a|b", "x\ty"]) for _ in range(count)],
    }
    table["val/loss"][0] = 2.53125  # a comma before three digits alone may be anything
    names = draw.sample(list(table), len(table))
    separator, mark = draw.choice([",", ";", "\t", "|"]), draw.choice([".", ","])
    text = io.StringIO()
    rows = csv.writer(
        text,
        delimiter=separator,
        quoting=draw.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
        lineterminator=draw.choice(["\n", "\r\n"]),
    )
    rows.writerow(names)
    for place in range(count):
        cells = [table[name][place] for name in names]
        rows.writerow([str(cell).replace(".", mark) if isinstance(cell, float) else cell for cell in cells])
    lines = text.getvalue().split("\n")
    for _ in range(draw.choice([0, 0, 2])):
        lines.insert(draw.randrange(len(lines)), "# a remark")
    encoding = draw.choice(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "latin-1"])
    packing = draw.choice([lambda content: content, *PACKERS.values()])
    path = write(tmp_path, packing("\n".join(lines).encode(encoding)))
    assert SOURCE.sniff(path)
    found = with_numbers(SOURCE.read(path).frame).drop(ROW)
    assert found.columns == names and SOURCE.read(path).notes == ()
    assert found.select(*table).to_dict(as_series=False) == pl.DataFrame(table, strict=False).to_dict(as_series=False)


def test_one_column_is_a_table_where_its_name_says_so(tmp_path: Path) -> None:
    packed = gzip.compress(b"loss\n1.5\n2.5\n")
    assert SOURCE.sniff(write(tmp_path, packed, "loss.csv.gz")) and not SOURCE.sniff(write(tmp_path, packed, "loss.gz"))
    assert numbers(str(tmp_path / "loss.csv.gz")) == {"loss": [1.5, 2.5]}


NOISE = ['"', ",", "\n", "\r", "\0", "\xff", "{", "[", "#", ";", "1,024", "1e999", "\t", "|", "=cmd|", "nan", "\u2028", "\ufeff"]


@pytest.mark.parametrize("seed", range(60))
def test_whatever_is_in_a_file_is_read_or_refused_in_one_line(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    text = draw.choice([*DIALECTS.values(), '[{"lr": 0.1, "loss": 2}]', '{"lr": 0.1}\n{"lr": 0.2}\n'])
    for _ in range(draw.randint(1, 6)):
        place = draw.randrange(len(text) + 1)
        text = text[:place] + draw.choice(NOISE) + text[place + draw.randint(0, 9) :]
    content = text.encode(draw.choice(["utf-8", "utf-16"]))
    path = write(tmp_path, draw.choice([lambda content: content, gzip.compress])(content)[: draw.randint(1, 200)])
    for source in (SOURCE, json_rows.SOURCE, parquet.SOURCE, excel.SOURCE):
        source.sniff(path)
        try:
            with_numbers(source.read(path).frame)
        except UsageError as refused:
            assert "\n" not in str(refused)
