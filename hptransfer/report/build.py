"""The files of a report: results in, what stands in the report's folder out."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import polars as pl

from hptransfer.base.errors import UsageError
from hptransfer.base.files import replace
from hptransfer.report.figures import Section, sections
from hptransfer.report.frames import FRAMES, run_table
from hptransfer.report.markdown import render_markdown
from hptransfer.report.page import render_page
from hptransfer.report.results import Results
from hptransfer.report.summary import Summary, summarize

FOLDERS = ("figures", "tables")
OWN = ("report.md", "compare.md")  # what tells a report from a comparison, and names its figures
FIGURE = re.compile(r"\]\((figures/[^/)]+\.svg)\)")


def build(results: Results, options: str = "") -> tuple[Summary, dict[str, str]]:
    """The summary, and the content of every file by its name. ``options`` are appended to the commands that are named."""
    frames, summary, evidence = _found(results, options)
    runs = run_table(results)
    with ThreadPoolExecutor(1) as pool:
        drawn = pool.submit(drawings, evidence)  # outside of Python, as long as all else takes
        files = {
            "index.html": render_page(summary, evidence, runs),
            "summary.json": summary.model_dump_json(indent=1) + "\n",
            "report.md": render_markdown(summary, evidence),
            "runs.csv": runs.write_csv(),
        }
        files |= {f"tables/{name}.csv": frame.write_csv() for name, frame in frames.items()}
    return summary, files | drawn.result()


def build_page(results: Results, options: str, live: Sequence[str]) -> str:
    """The page alone, as it stands while a search runs; ``live`` are the lines at its top."""
    _, summary, evidence = _found(results, options)
    return render_page(summary, evidence, run_table(results), live)


def drawings(evidence: Sequence[Section]) -> dict[str, str]:
    """The figures as SVG, by file name."""
    return {f"figures/{figure.name}.svg": figure.svg() for section in evidence for figure in section.figures}


def require_folder(folder: Path, kind: str) -> None:
    """Refuse a folder that holds the other kind of report; ``kind`` is one of `OWN`."""
    try:
        others = [other for other in OWN if other != kind and (folder / other).exists()]
    except OSError as error:
        raise UsageError(f"--output {folder}: {error.strerror}") from None
    if others:
        raise UsageError(f"{folder} holds another kind of report, with its {others[0]}; choose another folder with --output")


def write(folder: Path, files: Mapping[str, str]) -> list[str]:
    """Write the files; figures that the earlier report in ``folder`` links to, and this one has not, go. Returns what to say was
    written."""
    for old in _earlier(folder) - set(files):
        try:
            (folder / old).unlink(missing_ok=True)
        except OSError as error:
            raise UsageError(f"{folder / old} cannot be removed: {error.strerror}") from None
    for name, content in files.items():
        replace(folder / name, content)
    counts = {name: sum(file.startswith(f"{name}/") for file in files) for name in FOLDERS}
    written = [str(folder / name) for name in files if "/" not in name]
    return written + [f"{folder / name}/ ({count} {name})" for name, count in counts.items()]


def _found(results: Results, options: str) -> tuple[dict[str, pl.DataFrame], Summary, tuple[Section, ...]]:
    """The frames, what they come to, and the charts of them."""
    frames = {name: make(results) for name, make in FRAMES.items()}
    summary = summarize(results, options)
    return frames, summary, sections(frames, summary, options)


def _earlier(folder: Path) -> set[str]:
    """The figures of the report that is there."""
    try:
        return {figure for name in OWN if (folder / name).is_file() for figure in FIGURE.findall((folder / name).read_text())}
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{folder}: the report there cannot be read: {error}") from None
