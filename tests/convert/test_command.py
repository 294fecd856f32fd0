"""``hptransfer convert``."""

from __future__ import annotations

import json

import pytest

from hptransfer import cli
from hptransfer.optimizers.rules.dialects import DIALECTS

WORDS = ["--from", "torch.match_rms_adamw", "--to", "dion.spectral_norm", "--lr", "0.02", "--shape"]


def converted(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[dict, str]:
    """What is printed as JSON, and what people are told."""
    cli.perform("convert", [*argv, "--json"])
    printed = capsys.readouterr()
    return json.loads(printed.out), printed.err


def test_one_row_for_each_shape(capsys) -> None:
    found, said = converted(capsys, *WORDS, "4096x1024", "1024x4096,1024x1024", "4096x1024", "--weight-decay", "0.1")
    assert [row["shape"] for row in found["conversions"]] == [[4096, 1024], [1024, 4096], [1024, 1024]]
    assert [row["lr"] for row in found["conversions"]] == pytest.approx([0.128, 0.512, 0.128])
    assert [row["weight_decay"] * row["lr"] for row in found["conversions"]] == pytest.approx([0.02 * 0.1] * 3)
    assert "4096x1024" in said and "0.512" in said


@pytest.mark.parametrize(
    ("words", "varying"),
    [
        ([*WORDS, "4096x1024"], []),
        ([*WORDS, "4096x1024", "1024x1024"], []),  # the same factor by chance: 12.8 / 2, 6.4 / 1
        ([*WORDS, "4096x1024", "1024x4096"], ["lr"]),
        ([*WORDS, "4096x1024", "1024x4096", "--weight-decay", "0.1"], ["lr", "weight_decay"]),
        # The same LR everywhere, while nanochat's weight decay depends on the shape.
        (
            ["--from", "torch.original", "--to", "nanochat", "--lr", "1", "--weight-decay", "1", "--shape", "2x2", "8x2"],
            ["weight_decay"],
        ),
    ],
)
def test_what_one_value_cannot_express_is_said(capsys, words: list[str], varying: list[str]) -> None:
    found, said = converted(capsys, *words)
    assert found["varying"] == varying
    assert ("one group per shape" in said) == bool(varying)


def test_adamw_is_said_to_be_an_approximation(capsys) -> None:
    found, said = converted(capsys, "--from", "adamw", "--to", "torch.match_rms_adamw", "--lr", "3e-4", "--shape", "768x3072")
    assert found["conversions"][0]["lr"] == pytest.approx(3e-4)
    assert any("approximation" in note and note in said for note in found["notes"])


def test_all_dialects_are_listed(capsys) -> None:
    found, said = converted(capsys, "--list")
    assert set(found["dialects"]) == set(DIALECTS)
    for name, dialect in DIALECTS.items():
        assert name in said and found["dialects"][name]["formula"] == dialect.formula


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        ([], "convert needs --from, --to, --shape, --lr"),
        (WORDS[:-1], "convert needs --shape"),
        ([*WORDS, "4096"], "--shape '4096' is not of the form"),
        ([*WORDS, "4x4x4"], "--shape '4x4x4'"),
        ([*WORDS, "9" * 5000 + "x4"], "is not of the form"),
        ([*WORDS, ","], "--shape names no shape"),
        ([*WORDS, "0x4"], "shape 0x4 has a dimension below 1"),
        (
            ["--from", "torch.original", "--to", "dion.spectral_norm", "--lr", "0.02", "--shape", "0x0"],
            "shape 0x0 has a dimension",
        ),
        ([*WORDS, "4x4", "--lr", "0"], "'0' is no finite number above 0"),
        ([*WORDS, "4x4", "--lr", "inf"], "'inf' is no finite number above 0"),
        ([*WORDS, "4x4", "--from", "dion.spectral"], "did you mean 'dion.spectral_norm'"),
        ([*WORDS, "4x4", "--weight-decay", "-1"], "'-1' is no finite number, 0 or above"),
    ],
)
def test_a_mistake_is_one_line(capsys, argv: list[str], says: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["convert", *argv])
    printed = capsys.readouterr()
    assert stopped.value.code == 2 and printed.out == ""
    assert says in printed.err and len(printed.err.splitlines()) == 1
