from __future__ import annotations

from report.pages import OPTIONS

from hptransfer.report.figures import sections
from hptransfer.report.frames import FRAMES
from hptransfer.report.markdown import render_markdown
from hptransfer.report.results import Results
from hptransfer.report.summary import summarize
from hptransfer.report.text import COORDINATES


def test_notes_and_the_trend_are_in_the_markdown_too(full: Results) -> None:
    summary = summarize(full, OPTIONS)
    evidence = sections({name: make(full) for name, make in FRAMES.items()}, summary, OPTIONS)
    lines = render_markdown(summary, evidence).split("\n")
    assert any(COORDINATES in line for line in lines)
    assert "| muon | +0.010 (-0.020 to +0.050) | no trend is shown |" in lines
    notes = [figure.note for section in evidence for figure in section.figures if figure.note]
    assert any("muon fails: hidden at t = 10." in note for note in notes)
    for note in notes:
        assert lines[lines.index(note) - 2].startswith("![") and lines[lines.index(note) + 1] == ""
