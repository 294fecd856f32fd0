"""The multiplier table of reference/paper.md 1b (arXiv 2512.05620), cell by cell; r = width ratio, s = depth ratio."""

from collections.abc import Callable
from math import sqrt

import pytest
from tiny import tiny_spec

from hptransfer.optimizers.rules.width import (
    AdamRule,
    AdaMuonRule,
    GraftRule,
    HyperballRule,
    MuonRule,
    Ratios,
    Rule,
    SgdRule,
    ShampooRule,
    SoapRule,
    VectorRule,
    block_count,
)

SHAMPOO = ShampooRule(1 / 4, 1 / 4, relative_eps=False)
SHAMPOO2 = ShampooRule(1 / 2, 1 / 2, relative_eps=False)
CLASSES = ("embedding", "hidden", "readout")


def unblocked(kind: str, r: float, s: float) -> Ratios:
    return {"embedding": Ratios(d_out=r), "hidden": Ratios(d_in=r, d_out=r, depth=s), "readout": Ratios(d_in=r)}[kind]


def fixed_block(kind: str, r: float, s: float) -> Ratios:
    """The block size does not grow, so the number of blocks does, along each axis that grows."""
    return {
        "embedding": Ratios(d_out=r, n_out=r),
        "hidden": Ratios(d_in=r, d_out=r, depth=s, n_in=r, n_out=r),
        "readout": Ratios(d_in=r, n_in=r),
    }[kind]


Cells = Callable[[float, float], tuple[float, float, float]]
Row = tuple[str, Rule, Callable[[str, float, float], Ratios], Cells]

# name, rule, blocks, (embedding, hidden, readout)
LR_TABLE: list[Row] = [
    ("adam", AdamRule(), unblocked, lambda r, s: (1, 1 / r, 1 / r)),
    ("adamuon", AdaMuonRule(), unblocked, lambda r, s: (1, 1 / r, 1 / r)),
    ("adam#shampoo2", GraftRule(AdamRule(), SHAMPOO2), unblocked, lambda r, s: (1, 1 / r, 1 / r)),
    ("adam#shampoo2 fixed block", GraftRule(AdamRule(), SHAMPOO2), fixed_block, lambda r, s: (1, 1 / r, 1 / r)),
    ("sgd#shampoo", GraftRule(SgdRule(), SHAMPOO), unblocked, lambda r, s: (r, s, 1 / r)),
    ("sgd", SgdRule(), unblocked, lambda r, s: (r, s, 1 / r)),
    ("muon", MuonRule(), unblocked, lambda r, s: (sqrt(r), 1, 1 / sqrt(r))),
    ("soap", SoapRule(), unblocked, lambda r, s: (sqrt(r), 1, 1 / sqrt(r))),
    ("shampoo", SHAMPOO, unblocked, lambda r, s: (sqrt(r), 1, 1 / sqrt(r))),
    ("shampoo2", SHAMPOO2, unblocked, lambda r, s: (1, 1 / s, 1)),
    ("soap fixed block", SoapRule(), fixed_block, lambda r, s: (1, 1 / r, 1 / r)),
    ("shampoo fixed block", SHAMPOO, fixed_block, lambda r, s: (1, 1 / r, 1 / r)),
    ("shampoo2 fixed block", SHAMPOO2, fixed_block, lambda r, s: (1 / r, 1 / (s * r**2), 1 / r)),
    ("vector", VectorRule(), unblocked, lambda r, s: (1, 1, 1)),
]
EPS_TABLE: list[Row] = [
    ("adam", AdamRule(), unblocked, lambda r, s: (1 / r, 1 / (r * s), 1)),
    ("muon", MuonRule(), unblocked, lambda r, s: (1 / sqrt(r), 1 / s, sqrt(r))),
    ("shampoo", SHAMPOO, unblocked, lambda r, s: (1 / r, 1 / s**2, r)),
    ("shampoo2", SHAMPOO2, unblocked, lambda r, s: (1 / r, 1 / s**2, r)),
    ("shampoo fixed block", SHAMPOO, fixed_block, lambda r, s: (1 / r**2, 1 / (s * r) ** 2, 1)),
    ("shampoo relative", ShampooRule(1 / 4, 1 / 4, relative_eps=True), fixed_block, lambda r, s: (1, 1, 1)),
    ("soap", SoapRule(), unblocked, lambda r, s: (1 / sqrt(r), 1 / s, sqrt(r))),
    ("soap fixed block", SoapRule(), fixed_block, lambda r, s: (1 / r, 1 / (r * s), 1)),
    ("adamuon", AdaMuonRule(), unblocked, lambda r, s: (1 / sqrt(r), 1 / r, 1 / sqrt(r))),
    # sqrt(d_out/d_in) over the direction's own LR multiplier
    ("adam#shampoo2", GraftRule(AdamRule(), SHAMPOO2), unblocked, lambda r, s: (sqrt(r), s, 1 / sqrt(r))),
    ("adam#shampoo2 fixed block", GraftRule(AdamRule(), SHAMPOO2), fixed_block, lambda r, s: (r**1.5, s * r**2, sqrt(r))),
    ("adam#muon", GraftRule(AdamRule(), MuonRule()), unblocked, lambda r, s: (1, 1, 1)),
]


@pytest.mark.parametrize("s", [1, 2])
@pytest.mark.parametrize("r", [2, 4, 8])
@pytest.mark.parametrize(("rule", "blocks", "cells"), [row[1:] for row in LR_TABLE], ids=[row[0] for row in LR_TABLE])
def test_lr(rule: Rule, blocks, cells: Cells, r: int, s: int) -> None:
    assert [rule.lr(blocks(kind, r, s)) for kind in CLASSES] == pytest.approx(cells(r, s))


@pytest.mark.parametrize("s", [1, 2])
@pytest.mark.parametrize("r", [2, 4, 8])
@pytest.mark.parametrize(("rule", "blocks", "cells"), [row[1:] for row in EPS_TABLE], ids=[row[0] for row in EPS_TABLE])
def test_eps(rule: Rule, blocks, cells: Cells, r: int, s: int) -> None:
    assert [rule.eps(blocks(kind, r, s)) for kind in CLASSES] == pytest.approx(cells(r, s))


@pytest.mark.parametrize("r", [2, 4, 8])
def test_one_sided_where_the_vocabulary_axis_is_too_long(r: int) -> None:
    """Only the model's axis is preconditioned: an embedding's output, a readout's input."""
    left, right = SoapRule(left=True, right=False), SoapRule(left=False, right=True)
    assert left.lr(unblocked("embedding", r, 1)) == pytest.approx(sqrt(r))
    assert left.lr(fixed_block("embedding", r, 1)) == pytest.approx(1)
    assert right.lr(unblocked("readout", r, 1)) == pytest.approx(1 / sqrt(r))
    assert right.lr(fixed_block("readout", r, 1)) == pytest.approx(1 / r)
    # One-sided Shampoo: e is the one active exponent.
    assert ShampooRule(1 / 4, 0).lr(unblocked("embedding", r, 1)) == pytest.approx(r**0.75)
    assert ShampooRule(0, 1 / 4).lr(unblocked("readout", r, 1)) == pytest.approx(r**-0.75)
    assert ShampooRule(1 / 2, 0).lr(fixed_block("embedding", r, 1)) == pytest.approx(1)
    assert ShampooRule(0, 1 / 2).lr(fixed_block("readout", r, 1)) == pytest.approx(1 / r)


# Axes that grow by different factors, deeper, blocks that grow too.
GENERAL = Ratios(d_in=2, d_out=6, depth=3, n_in=1.5, n_out=4)
WHOLE = Ratios(d_in=2, d_out=6, depth=3)
ENTRIES = Ratios(d_in=2, d_out=6, depth=3, n_in=2, n_out=6)


def test_classes_agree_where_the_optimizers_are_the_same() -> None:
    assert SoapRule(left=False, right=False).lr(GENERAL) == AdamRule().lr(GENERAL)
    assert SoapRule(left=False, right=False).eps(GENERAL) == AdamRule().eps(GENERAL)
    assert SHAMPOO.lr(ENTRIES) == pytest.approx(AdamRule().lr(ENTRIES))  # 1x1 blocks with e = 1/2
    assert SoapRule().lr(ENTRIES) == pytest.approx(AdamRule().lr(ENTRIES))  # 1x1 blocks
    assert SoapRule().lr(WHOLE) == pytest.approx(MuonRule().lr(WHOLE)) == pytest.approx(SHAMPOO.lr(WHOLE))
    assert SoapRule().eps(WHOLE) == pytest.approx(MuonRule().eps(WHOLE))


@pytest.mark.parametrize("e", [1 / 4, 1 / 2])
def test_both_forms_of_the_shampoo_rule(e: float) -> None:
    """(d_out/d_in)^(1-e) L^(1-2e) n^-e is (d_out/d_in) (b_in b_out / d_out^2)^e L^(1-2e), with e the sum of both exponents."""
    r, total = GENERAL, 2 * e
    other_form = r.d_out / r.d_in * (r.b_in * r.b_out / r.d_out**2) ** total * r.depth ** (1 - 2 * total)
    assert ShampooRule(e, e).lr(r) == pytest.approx(other_form)


@pytest.mark.parametrize(
    ("d", "block", "count"), [(32, 32, 1), (33, 32, 2), (64, 32, 2), (65, 32, 3), (8, 32, 1), (100, 0, 1), (100, 1, 100)]
)
def test_block_count_rounds_up_and_0_is_unblocked(d: int, block: int, count: int) -> None:
    assert block_count(d, block) == count


def test_a_block_that_does_not_divide_the_width() -> None:
    """Width 16 -> 32 in blocks of 12: 2 -> 3 blocks per axis, so the effective block grew by 2 / 1.5."""
    spec = tiny_spec("soap", {"block_size": 12}, **{"model.width": 32})
    ratios = spec.ratios()["attention"]
    assert (ratios.n_in, ratios.n_out, ratios.b_in) == (1.5, 1.5, 2 / 1.5)
    lr = {group.kind: group.lr / spec.optimizer.lr for group in spec.groups()}
    assert lr["attention"] == pytest.approx((2 / 1.5) / 2)
    assert lr["mlp_in"] == pytest.approx(sqrt(2 / 1.5 * 2 / (11 / 6)) / 2)  # 64 -> 128: 6 -> 11 blocks


@pytest.mark.parametrize(
    ("rule", "norm"),
    [(AdamRule(), lambda r: sqrt(r.d_in * r.d_out)), (MuonRule(), lambda r: sqrt(min(r.d_in, r.d_out)))],
)
@pytest.mark.parametrize(("d_in", "d_out"), [(4, 4), (4, 1), (2, 8)])
def test_on_a_sphere_the_step_is_that_of_the_direction_s_own_rule(rule: Rule, norm, d_in: int, d_out: int) -> None:
    """lr R U/|U|_F with R as sqrt(d_out), and |U|_F of Adam's signs and of a polar factor as they grow."""
    r = Ratios(d_in=d_in, d_out=d_out)
    share = HyperballRule(rule, full_rank=isinstance(rule, MuonRule)).lr(r)
    assert share * sqrt(d_out) / norm(r) == pytest.approx(rule.lr(r))
