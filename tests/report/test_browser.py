"""The page in headless Chromium, without a network."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium")
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--enable-logging=stderr", "--virtual-time-budget=8000", "--dump-dom"),
]

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the path")]


def open_page(page: Path, profile: Path, width: int) -> tuple[str, list[str]]:
    """The document after its scripts ran, and what they wrote to the console."""
    assert CHROMIUM is not None
    offline = ["--host-resolver-rules=MAP * ~NOTFOUND", "--proxy-server=127.0.0.1:9"]
    command = [CHROMIUM, *FLAGS, *offline, f"--user-data-dir={profile}", f"--window-size={width},900", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.parametrize("width", [500, 1400])
def test_every_chart_is_drawn_and_the_console_is_silent(report: Path, tmp_path: Path, width: int) -> None:
    document, console = open_page(report / "index.html", tmp_path, width)
    assert console == []
    holders = document.split('<div class="chart')[1:]
    assert len(holders) == len(list((report / "figures").glob("*.svg")))
    for holder in holders:
        drawing = holder[: holder.index("</svg>")]
        marks = re.findall(r'<g class="mark-(?:symbol|rule|line) role-mark[^"]*"[^>]*><(?:path|line) ', drawing)
        assert len(marks) >= 2, drawing[:300]
        assert "NaN" not in drawing


def test_an_error_would_be_noticed(report: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.html"
    text = (report / "index.html").read_text()
    broken.write_text(text.replace("for (const holder", "fetch('http://example.org'); for (const holder"))
    _, console = open_page(broken, tmp_path / "profile", 1400)
    assert any("Content Security Policy" in line for line in console)
