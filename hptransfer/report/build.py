"""The files of a report: results in, what stands in the report's folder out."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from hptransfer.base.errors import UsageError
from hptransfer.base.files import replace
from hptransfer.base.formulas import guarded
from hptransfer.report import page, render
from hptransfer.report.document import Document
from hptransfer.report.frames import Frames, all_frames, run_table
from hptransfer.validate.results import Results
from hptransfer.validate.summary import Summary, summarize

FOLDERS = ("figures", "tables")
OWN = ("report.md", "compare.md", "sweeps.md", "law.md")  # what tells kinds of reports apart, and names their figures
FIGURE = re.compile(r"\]\((figures/[^/)]+\.svg)\)")

Files = dict[str, str]


def build(results: Results, options: Sequence[str] = ()) -> tuple[Summary, Document, Files]:
    """The summary, the document, and the content of every file by its name. ``options`` are appended to the commands that are
    named."""
    document, summary, frames, runs = _written(results, options)
    files = {"summary.json": summary.model_dump_json(indent=1) + "\n", "runs.csv": csv(runs)}
    return summary, document, files | rendered(document, frames, "report.md")


def build_page(results: Results, options: Sequence[str], live: Sequence[str]) -> str:
    """The page alone, as it stands while a search runs; ``live`` are the lines at its top."""
    document, *_ = _written(results, options, live)
    return render.html(document)


def _written(
    results: Results, options: Sequence[str], live: Sequence[str] = ()
) -> tuple[Document, Summary, Frames, pl.DataFrame]:
    """The document, with what it tells: the summary, the tables behind its charts, and the runs."""
    frames, summary, runs = all_frames(results), summarize(results, options), run_table(results)
    return page.document(summary, frames, runs, options, live), summary, frames, runs


def rendered(document: Document, frames: Frames, markdown: str) -> Files:
    """A document in all its forms, with its figures, and the tables behind them."""
    files = {"index.html": render.html(document), markdown: render.markdown(document)}
    files |= {f"tables/{name}.csv": csv(frame) for name, frame in frames.items()}
    return files | {f"figures/{figure.name}.svg": figure.svg for figure in document.figures}


def write_page(folder: Path, kind: str, document: Document, frames: Frames) -> list[str]:
    """Write a page that needs no experiment, in all its forms; ``kind`` is one of `OWN`. Returns what to say was written."""
    require_folder(folder, kind)
    return write(folder, rendered(document, frames, kind))


def csv(frame: pl.DataFrame) -> str:
    """A table whose text no spreadsheet takes for a formula, nor the names of its columns, which a trainer may give."""
    return frame.with_columns(guarded(pl.col(pl.String))).rename(lambda name: guarded(pl.Series([name])).item()).write_csv()


def require_folder(folder: Path, kind: str) -> None:
    """Refuse a folder that holds another kind of report; ``kind`` is one of `OWN`."""
    try:
        others = [other for other in OWN if other != kind and (folder / other).exists()]
    except OSError as error:
        raise UsageError(f"--output {folder}: {error.strerror}") from None
    if others:
        raise UsageError(f"{folder} holds another kind of report, with its {others[0]}; choose another folder with --output")


def write(folder: Path, files: Mapping[str, str]) -> list[str]:
    """Write the files; figures that the earlier report in ``folder`` links to, and this one has not, go. Returns what to say was
    written. What a page links to is there before the page, and the earlier report's figures until it is replaced: one that
    cannot be written leaves a page and its figures."""
    earlier = _earlier(folder)
    for name in sorted(files, key=lambda name: "/" not in name):
        replace(folder / name, files[name])
    for old in earlier - set(files):
        try:
            (folder / old).unlink(missing_ok=True)
        except OSError as error:
            raise UsageError(f"{folder / old} cannot be removed: {error.strerror}") from None
    counts = {name: sum(file.startswith(f"{name}/") for file in files) for name in FOLDERS}
    written = [str(folder / name) for name in files if "/" not in name]
    return written + [f"{folder / name}/ ({count} {name})" for name, count in counts.items() if count]


def _earlier(folder: Path) -> set[str]:
    """The figures of the report that is there."""
    try:
        return {figure for name in OWN if (folder / name).is_file() for figure in FIGURE.findall((folder / name).read_text())}
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{folder}: the report there cannot be read: {error}") from None
