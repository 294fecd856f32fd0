"""Formulas over the scales: their values, and that nothing else of Python is in them."""

from __future__ import annotations

import pytest

from hptransfer.base.errors import UsageError
from hptransfer.experiment.formula import evaluate
from hptransfer.experiment.program import Program


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12*3*width**2", 147456),
        ("2e7", 2e7),
        ("20 * width", 1280),
        ("round(1.5*sqrt(width))", 12),
        ("max(1, width // 100)", 1),
        ("-(-width)", 64),
    ],
)
def test_a_value(text: str, value: float) -> None:
    assert evaluate(text, {"width": 64}) == value


def test_sizes_may_name_each_other_in_any_order() -> None:
    program = Program(
        command="train {width} {lr}",
        loss="(.*)",
        flops="6*parameters*tokens",
        tokens="180*batch_tokens",
        batch_tokens="8*128",
        parameters="width**2",
    )
    assert program.sizes({"width": 10}) == {
        "parameters": 100,
        "batch_tokens": 1024,
        "tokens": 184320,
        "flops": 6 * 100 * 184320,
    }
    assert program.fixed == {"batch_tokens": 1024, "tokens": 184320}
    assert program.sizes({"width": 10, "tokens": 2048})["flops"] == 6 * 100 * 2048


def test_sizes_that_name_each_other_in_a_circle_are_refused() -> None:
    program = Program(command="train {width} {lr}", loss="(.*)", tokens="2*batch_tokens", batch_tokens="tokens/2")
    with pytest.raises(UsageError, match=r"formula 'tokens/2' names tokens"):
        program.sizes({"width": 10})


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "width.real",
        "(lambda: 1)()",
        "[1][0]",
        "'a'*3",
        "True",
        "width if width else 1",
        "depth",
        "sqrt",
        "max(*width)",
        "max(width, key=1)",
        "9**9**9",
        "width**1e9",
        "1/0",
        "sqrt(-1)",
        "(-1)**0.5",
        "-width",
        "0",
        "",
        "1 +",
        "1e400",
        "0j",
        "(" * 240 + "1" + ")" * 240,
        "1+" * 400 + "1",
    ],
)
def test_what_is_no_size_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        evaluate(text, {"width": 64})
    assert "\n" not in str(caught.value)


def test_sizes_may_name_those_before_them_and_a_scale_goes_before_its_formula() -> None:
    program = Program(
        command="x {lr}", loss="(.*)", parameters="12*width**2", tokens="20*parameters", flops="6*parameters*tokens"
    )
    assert program.sizes({"width": 10}) == {"parameters": 1200, "tokens": 24000, "flops": 6 * 1200 * 24000}
    assert program.sizes({"width": 10, "tokens": 5})["flops"] == 6 * 1200 * 5
    with pytest.raises(UsageError, match="names tokens"):
        Program(command="x {lr}", loss="(.*)", parameters="tokens").sizes({"width": 10})
