"""Values of options are of a kind with bounds: what is beyond them is one line that names it, before anything is read."""

from __future__ import annotations

import argparse
import math
import re

import pytest

from hptransfer import cli
from hptransfer.base import values
from hptransfer.base.errors import LONGEST_MESSAGE, UsageError
from hptransfer.cli.options import refuse_unheeded
from hptransfer.cli.stages import STAGES
from hptransfer.cli.start import Parser

NOT_UTF8 = "\udcff"  # a byte that is none, as Python hands it on


def refused(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """The one line by which a command line is refused, with exit code 2."""
    with pytest.raises(SystemExit) as stopped:
        cli.main(argv)
    printed = capsys.readouterr()
    assert (stopped.value.code, printed.out) == (2, "")
    (line,) = printed.err.splitlines()
    return line


@pytest.mark.parametrize(
    ("read", "wrong"),
    [
        (values.count, ["0", "-1", "nan", "inf", "1.5", "", "x", str(2**64)]),
        (values.count_from_0, ["-1", "nan", "inf", "0.5", str(2**64)]),
        (values.positive, ["0", "-1", "nan", "inf", "1e400", ""]),
        (values.positives, ["1,0", "1,", "1,nan", ""]),
        (values.not_negative, ["-1", "nan", "inf"]),
        (values.share, ["0", "1.1", "nan", "-1"]),
        (values.names, ["", ",", "mup,mup", "a,,b", "a, a", "n" * 256]),
        (values.scales, ["", "width", "width=0", "width=nan", "width=inf", "=3", "width=1,width=2", "width=1,"]),
        (values.text, ["", "  ", "a\nb", "a\x00b", NOT_UTF8]),
        (values.path, ["", "a\nb", NOT_UTF8, "p" * 256, "a/" * 3000]),
        (values.program, ["", "a\x00b"]),
    ],
)
def test_values_beyond_their_bounds_are_refused(read, wrong: list[str]) -> None:
    for text in wrong:
        with pytest.raises(ValueError, match="'") as caught:
            read(text)
        assert "\n" not in str(caught.value)


def test_values_within_their_bounds_are_read() -> None:
    assert (values.count("64"), values.count("1e9"), values.count_from_0("0")) == (64, 10**9, 0)
    assert (values.positive("1e-3"), values.not_negative("0"), values.share("1")) == (1e-3, 0.0, 1.0)
    assert values.names("mup, sp") == ("mup", "sp")
    assert values.scales("width=256,tokens=1e9") == {"width": 256.0, "tokens": 1e9}
    assert values.program("python a.py \\\n  --lr {lr}") == "python a.py \\\n  --lr {lr}"
    assert values.path("s3://bucket/runs") == "s3://bucket/runs"


@pytest.mark.parametrize(
    "argv",
    [
        ["transfer", "--tokens", "0"],
        ["transfer", "--width", "0"],
        ["transfer", "--batch-tokens", "0"],
        ["transfer", "--at", "width=nan"],
        ["transfer", "--at", "width=big"],
        ["transfer", "--arm", ""],
        ["transfer", "--table", ""],
        ["transfer", "--group", ""],
        ["transfer", "--where", ""],
        ["backtest", "t.csv", "--leave-one-out", ""],
        ["train", "--target-loss", "0"],
        ["train", "--target-loss", "-1"],
        ["train", "--target-loss", "nan"],
        ["train", "--target-loss", "inf"],
        ["train", "--failures", "-1"],
        ["validate", "--workers", "0"],
        ["search", "--parametrization", "mup,mup"],
        ["search", "--command", ""],
        ["plan", "--utilization", "40"],
        ["plan", "--devices", "0"],
        ["plan", "--flops-per-second", "nan"],
        ["coordcheck", "--seeds", "0"],
        ["export", "--target", "json,json"],
        ["store", "--columns", ""],
        ["store", "--store", NOT_UTF8],
        ["store", "--store", "a\nb"],
        ["search", "--experiment", "e" * 256],
        ["laws", "fit", "chinchilla", "--flops", "1e18,0"],
    ],
)
def test_an_option_beyond_its_bounds_is_one_line(capsys: pytest.CaptureFixture[str], argv: list[str]) -> None:
    line = refused(capsys, *argv)
    assert f"{argv[-2]}: " in line
    assert repr(re.split("[=,]", argv[-1])[-1])[1:-1] in line


@pytest.mark.parametrize("name", STAGES)
def test_no_option_takes_an_empty_text(name: str) -> None:
    """What has no kind of its own is a line of text."""
    parser = Parser()
    STAGES[name].options(parser)
    for action in parser._actions:
        if action.nargs != 0 and action.choices is None:
            with pytest.raises(argparse.ArgumentError):
                parser._get_value(action, "")


def test_a_message_is_one_line_of_bounded_length(capsys: pytest.CaptureFixture[str]) -> None:
    assert str(UsageError("a\nb\x1b[31m")) == "a b [31m"
    assert len(str(UsageError("x" * 10**6))) < LONGEST_MESSAGE + 10
    line = refused(capsys, "search", "--trials", "9" * 10**6)
    assert len(line) < LONGEST_MESSAGE + 100 and "'999" in line
    assert "a b" in refused(capsys, "search", "a\nb")


def test_an_option_that_is_not_heeded_is_refused_by_name() -> None:
    args = cli.parse("transfer", ["--optimizer", "muon,soap", "--set", "a=1", "--force"])
    for option, words in (("optimizer", "--optimizer muon,soap"), ("set", "--set a=1"), ("force", "--force")):
        with pytest.raises(UsageError, match=f"{words} is not heeded with --table"):
            refuse_unheeded(args, "with --table", option)
    refuse_unheeded(args, "with --table", "store", "experiment", "width", "at", "group")  # not given


@pytest.mark.parametrize(
    ("argv", "option"),
    [
        (["transfer", "--table", "t.csv", "--tokens", "5"], "--tokens 5"),
        (["transfer", "--table", "t.csv", "--store", "q"], "--store q"),
        (["transfer", "--table", "t.csv", "--optimizer", "adamw"], "--optimizer adamw"),
        (["transfer", "--table", "t.csv", "--set", "search.trials=6"], "--set search.trials=6"),
        (["transfer", "--table", "t.csv", "--at", "width=4", "--width", "5"], "--width 5"),
        (["transfer", "--where", "lr > 0"], "--where lr > 0"),
        (["transfer", "--report", "page"], "--report page"),
        (["backtest", "--store", "runs", "--source", "csv"], "--source csv"),
        (["export", "--prediction", "p.json", "--width", "64"], "--width 64"),
        (["export", "--prediction", "p.json", "--optimizer", "muon"], "--optimizer muon"),
        (["train", "--prediction", "p.json", "--set", "horizon.tokens=1638400"], "--set horizon.tokens=1638400"),
        (["store", "--set", "widths=[3]"], "--set widths=[3]"),
        (["laws", "fit", "chinchilla", "--table", "t.csv", "--store", "q"], "--store q"),
        (["laws", "fit", "chinchilla", "--table", "t.csv", "--set", "widths=[3]"], "--set widths=[3]"),
        (["laws", "plot", "chinchilla", "--table", "t.csv", "--experiment", "mine"], "--experiment mine"),
        (["laws", "fit", "chinchilla", "--source", "csv"], "--source csv"),
        (["laws", "fit", "chinchilla", "--table", "t.csv", "--at", "N=1e9"], "--at N=1e9"),
        (["laws", "predict", "chinchilla", "--table", "t.csv", "--flops", "1e18"], "--flops 1e+18"),
        (["laws", "compare", "--table", "t.csv", "--option", "draws=9"], "--option draws=9"),
        (["laws", "sensitivity", "chinchilla", "--table", "t.csv", "--hold-out", "N > 1"], "--hold-out N > 1"),
        (["laws", "series", "--table", "t.csv"], "--table t.csv"),
        (["import", "t.csv", "--look", "--store", "q"], "--store q"),
        (["import", "t.csv", "--maximize"], "--maximize"),
        (["report", "--compare", "a", "b", "--experiment", "c"], "--experiment c"),
        (["report", "--compare", "a", "b", "--predictions", "p.json"], "--predictions p.json"),
        (["export", "--list", "--output", "there"], "--output there"),
        (["convert", "--list", "--lr", "0.02"], "--lr"),
        (["export", "--store", "q"], "--store q"),
        (["data", "--write", "corpus", "--store", "q"], "--store q"),
        (["import", "t.csv", "--look", "--experiment", "q"], "--experiment q"),
        (["import", "t.csv", "--look", "--set", "widths=[3]"], "--set widths=[3]"),
        (["import", "t.csv", "--maximize"], "--maximize"),
        (["laws", "fit", "chinchilla", "--table", "t.csv", "--store", "q"], "--store q"),
        (["laws", "fit", "chinchilla", "--table", "t.csv", "--output", "page"], "--output page"),
        (["laws", "fit", "chinchilla", "--at", "N=1e9"], "--at N=1e9"),
        (["laws", "fit", "chinchilla", "--source", "csv"], "--source csv"),
        (["laws", "compare", "--table", "t.csv", "--flops", "1e18"], "--flops 1e+18"),
        (["laws", "series", "--loss", "x"], "--loss x"),
    ],
)
def test_commands_refuse_what_they_would_not_heed(capsys: pytest.CaptureFixture[str], argv: list[str], option: str) -> None:
    assert f"{option} is not heeded" in refused(capsys, *argv)


def test_json_never_holds_nan(capsys: pytest.CaptureFixture[str]) -> None:
    cli.finish(argparse.Namespace(json=True), {"a": [math.nan, (1.0, -math.inf)], "b": {"c": math.inf}, "d": 1})
    assert capsys.readouterr().out == '{"a": [null, [1.0, null]], "b": {"c": null}, "d": 1}\n'
