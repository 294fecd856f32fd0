"""The files of a report: results in, what stands in the report's folder out."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from hptransfer.errors import UsageError
from hptransfer.report.figures import Section, sections
from hptransfer.report.frames import FRAMES, run_table
from hptransfer.report.markdown import render_markdown
from hptransfer.report.page import render_page
from hptransfer.report.results import Results
from hptransfer.report.summary import Summary, summarize

FOLDERS = {"figures": ".svg", "tables": ".csv"}


def build(results: Results, options: str = "") -> tuple[Summary, dict[str, str]]:
    """The summary, and the content of every file by its name. ``options`` are appended to the commands that are named."""
    frames = {name: make(results) for name, make in FRAMES.items()}
    runs = run_table(results)
    summary = summarize(results, options)
    evidence = sections(frames, summary, options)
    files = {
        "index.html": render_page(summary, evidence, runs),
        "summary.json": summary.model_dump_json(indent=1) + "\n",
        "report.md": render_markdown(summary, evidence),
        "runs.csv": runs.write_csv(),
    }
    files |= {f"tables/{name}.csv": frame.write_csv() for name, frame in frames.items()}
    return summary, files | drawings(evidence)


def build_page(results: Results, options: str, live: Sequence[str]) -> str:
    """The page alone, as it stands while a search runs; ``live`` are the lines at its top."""
    summary = summarize(results, options)
    evidence = sections({name: make(results) for name, make in FRAMES.items()}, summary, options)
    return render_page(summary, evidence, run_table(results), live)


def drawings(evidence: Sequence[Section]) -> dict[str, str]:
    """The figures as SVG, by file name."""
    return {f"figures/{figure.name}.svg": figure.svg() for section in evidence for figure in section.figures}


def write(folder: Path, files: Mapping[str, str]) -> list[str]:
    """Write the files; figures and tables of an earlier report go. Returns what to say was written."""
    for name, suffix in FOLDERS.items():
        for old in (folder / name).glob(f"*{suffix}"):
            if f"{name}/{old.name}" not in files:
                old.unlink()
    for name, content in files.items():
        replace(folder / name, content)
    counts = {name: sum(file.startswith(f"{name}/") for file in files) for name in FOLDERS}
    written = [str(folder / name) for name in files if "/" not in name]
    return written + [f"{folder / name}/ ({count} {name})" for name, count in counts.items()]


def replace(path: Path, content: str) -> None:
    """Write a file whole or not at all: who has it open sees the old one or the new one."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_text(content, encoding="utf-8")
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror or error}") from None
