from __future__ import annotations

import pytest

from hptransfer.report import terminal
from hptransfer.report.results import Results
from hptransfer.report.summary import summarize
from hptransfer.report.text import COORDINATES

DASH = "\N{EN DASH}"


def test_the_answer_in_the_terminal(full: Results, capsys: pytest.CaptureFixture[str]) -> None:
    terminal.show(summarize(full))
    out, err = capsys.readouterr()
    assert out == ""
    (row,) = (line.split() for line in err.splitlines() if line.startswith("  muon "))
    regret = ["0.11", "%", f"(0.02{DASH}0.21)"]
    assert row == ["muon", "0.0208", f"(0.0172{DASH}0.0248)", "0.000125", *regret, "1.42x", f"(1.30{DASH}1.60)", "0.002"]
    assert " ".join(COORDINATES.split()) in " ".join(err.split())
    assert "sample at width 256: 2.49 M parameters" in err
    assert "\nmuon saves compute: AdamW needs 1.42x the compute" in err
    assert "muon: Check failed: batch in the swept range (a < b)." in err


def test_what_is_missing_is_said_too(unfinished: Results, capsys: pytest.CaptureFixture[str]) -> None:
    terminal.show(summarize(unfinished))
    err = capsys.readouterr().err
    assert "missing: adamw and muon: there is no prediction yet." in err
