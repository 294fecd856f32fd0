"""What the rules make of a run's base values: final LRs and epsilons of every recipe and kind of weight, written down here."""

from __future__ import annotations

from typing import Any

import pytest
from tiny import RULED, tiny_spec

from hptransfer.optimizers import RECIPES
from hptransfer.optimizers.recipe import Sides
from hptransfer.trainers.ours.points import job_of
from hptransfer.trainers.ours.spec import RunSpec

# Width 16 -> 64, depth 1 -> 2, so r = 4 and s = 2; the block is 16, the base width, unless the options say another.
GROWN = {"model.width": 64, "model.depth": 2}
KINDS = ("embedding", "attention", "mlp_in", "mlp_out", "readout", "vector")

# recipe, options, LR multipliers of embedding, hidden, readout; a vector's is 1.
LR: list[tuple[str, dict[str, Any], tuple[float, float, float]]] = [
    ("adamw", {}, (1, 1 / 4, 1 / 4)),
    ("signum", {}, (1, 1 / 4, 1 / 4)),
    ("sgd", {}, (4, 2, 1 / 4)),
    ("muon", {}, (1, 1, 1 / 4)),
    ("muon-all", {}, (2, 1, 1 / 2)),
    ("normuon", {}, (1, 1 / 4, 1 / 4)),
    ("normuon", {"preserve_norm": True}, (1, 1, 1 / 4)),
    ("adamuon", {}, (1, 1 / 4, 1 / 4)),
    ("shampoo", {}, (1, 1 / 4, 1 / 4)),
    ("shampoo", {"block_size": 0, "exponent": 0.25}, (1, 1 / 4, 1 / 4)),
    ("shampoo-quarter", {}, (1, 1 / 4, 1 / 4)),
    ("shampoo-quarter", {"block_size": 0}, (1, 1, 1 / 4)),
    # Exponents 1/2 and 1/2 without a graft: 1/(s r^2) in fixed blocks, 1/s unblocked.
    ("shampoo-quarter", {"exponent": 0.5}, (1, 1 / 32, 1 / 4)),
    ("shampoo-quarter", {"exponent": 0.5, "block_size": 0}, (1, 1 / 2, 1 / 4)),
    # One-sided, e = 1/4: r^(3/4) and r^(-3/4), times n^(-1/4) = r^(-1/4) in fixed blocks.
    ("shampoo-quarter-all", {}, (2, 1 / 4, 1 / 4)),
    ("shampoo-quarter-all", {"block_size": 0}, (4**0.75, 1, 4**-0.75)),
    ("soap", {}, (1, 1 / 4, 1 / 4)),
    ("soap", {"block_size": 0}, (1, 1, 1 / 4)),
    # One side of two: sqrt(b)/r, with b = 1 or r.
    ("soap", {"one_sided": True}, (1, 1 / 4, 1 / 4)),
    ("soap", {"one_sided": True, "block_size": 0}, (1, 1 / 2, 1 / 4)),
    ("soap-all", {}, (1, 1 / 4, 1 / 4)),
    ("soap-all", {"block_size": 0}, (2, 1, 1 / 2)),
    ("schedulefree-adamw", {}, (1, 1 / 4, 1 / 4)),
    ("sf-normuon", {}, (1, 1 / 4, 1 / 4)),
    # A share of the matrix's norm: sqrt(stable rank / d_in).
    *((name, {}, (1, 1 / 2, 1 / 4)) for name in ("adamh", "shampooh", "soaph")),
    ("muonh", {}, (1, 1, 1 / 4)),
]

# Multipliers of every epsilon, likewise; None: the role has none.
ADAM = (1 / 4, 1 / 8, 1)
MUON = (1 / 2, 1 / 2, 2)
Eps = dict[str, tuple[float | None, float | None, float | None]]
EPS: list[tuple[str, dict[str, Any], Eps]] = [
    ("adamw", {}, {"eps": ADAM}),
    ("signum", {}, {}),
    ("sgd", {}, {}),
    ("muon", {}, {"eps": (1 / 4, 1 / 2, 1)}),
    ("muon-all", {}, {"eps": MUON}),
    ("normuon", {}, {"eps": (1 / 4, 1 / 4, 1), "ns_eps": (None, 1 / 2, None)}),
    ("adamuon", {}, {"eps": (1 / 4, 1 / 4, 1), "ns_eps": (None, 1 / 2, None)}),
    # The graft's: sqrt(d_out/d_in) over the LR multiplier of Shampoo^2, 1/(s r^2) in fixed blocks and 1/s unblocked.
    ("shampoo", {}, {"eps": ADAM, "matrix_eps": (None, 1, None), "graft_eps": (None, 32, None)}),
    ("shampoo", {"block_size": 0}, {"eps": ADAM, "matrix_eps": (None, 1, None), "graft_eps": (None, 2, None)}),
    # An absolute epsilon: d_in/(s^2 d_out n).
    ("shampoo", {"relative_eps": False}, {"eps": ADAM, "matrix_eps": (None, 1 / 64, None), "graft_eps": (None, 32, None)}),
    ("shampoo-quarter", {}, {"eps": (1 / 4, None, 1), "matrix_eps": (None, 1, None)}),
    ("shampoo-quarter", {"relative_eps": False, "block_size": 0}, {"eps": (1 / 4, None, 1), "matrix_eps": (None, 1 / 4, None)}),
    ("shampoo-quarter-all", {}, {"matrix_eps": (1, 1, 1)}),
    ("shampoo-quarter-all", {"relative_eps": False}, {"matrix_eps": (1 / 16, 1 / 64, 1)}),
    ("shampoo-quarter-all", {"relative_eps": False, "block_size": 0}, {"matrix_eps": (1 / 4, 1 / 4, 4)}),
    ("soap", {}, {"eps": ADAM}),
    ("soap", {"block_size": 0}, {"eps": (1 / 4, 1 / 2, 1)}),
    ("soap", {"one_sided": True, "block_size": 0}, {"eps": (1 / 4, 1 / 4, 1)}),
    ("soap-all", {}, {"eps": ADAM}),
    ("soap-all", {"block_size": 0}, {"eps": MUON}),
    ("schedulefree-adamw", {}, {"eps": ADAM}),
    ("sf-normuon", {}, {"eps": (1 / 4, 1 / 4, 1), "ns_eps": (None, 1 / 2, None)}),
    # Those of the optimizer on the sphere.
    ("adamh", {}, {"eps": ADAM}),
    ("muonh", {}, {"eps": (1 / 4, 1 / 2, 1)}),
    ("shampooh", {}, {"eps": (1 / 4, None, 1), "matrix_eps": (None, 1, None)}),
    ("shampooh", {"relative_eps": False}, {"eps": (1 / 4, None, 1), "matrix_eps": (None, 1 / 64, None)}),
    ("soaph", {"block_size": 0}, {"eps": (1 / 4, 1 / 2, 1)}),
]


def by_kind(three: tuple[Any, Any, Any], vector: Any) -> dict[str, Any]:
    """A value per class as a value per kind of weight."""
    embedding, hidden, readout = three
    return dict(zip(KINDS, (embedding, hidden, hidden, hidden, readout, vector), strict=True))


def lrs(spec: RunSpec) -> dict[str, float]:
    return {group.kind: group.lr / spec.optimizer.lr for group in spec.groups()}


def test_no_recipe_is_forgotten() -> None:
    assert {row[0] for row in LR} == {row[0] for row in EPS} == set(RECIPES.names())


@pytest.mark.parametrize(("recipe", "options", "wanted"), LR)
def test_final_lrs(recipe: str, options: dict[str, Any], wanted: tuple[float, float, float]) -> None:
    """Base LR, times the role's ratio, times the rule; under sp and spectral no rule, at the base shape 1."""
    spec = tiny_spec(recipe, options, **GROWN, **{"optimizer.embedding_lr_ratio": 3.0})
    embedding, hidden, readout = wanted
    assert lrs(spec) == pytest.approx(by_kind((3 * embedding, hidden, 3 * readout), 1))
    spectral = [spec.at(parametrization="spectral")] if (recipe, "spectral") in RULED else []
    for unscaled in (spec.at(parametrization="sp"), *spectral, tiny_spec(recipe, options)):
        ratio = unscaled.optimizer.embedding_lr_ratio
        assert lrs(unscaled) == pytest.approx(by_kind((ratio, 1, ratio), 1))


@pytest.mark.parametrize(("recipe", "options", "wanted"), EPS)
def test_final_epsilons(recipe: str, options: dict[str, Any], wanted: Eps) -> None:
    """Base epsilon times the rule, under spectral too; under sp as they are. A vector has Adam's, with 1/r."""
    spec = tiny_spec(recipe, options, **GROWN)
    base = {group.kind: group.epsilons for group in tiny_spec(recipe, options).groups()}
    for parametrization in (rule for name, rule in RULED if name == recipe):
        final = {group.kind: group.epsilons for group in spec.at(parametrization=parametrization).groups()}
        assert final.pop("vector") == {"eps": pytest.approx(base["vector"]["eps"] / 4)}
        for kind, epsilons in final.items():
            multipliers = {name: by_kind(three, None)[kind] for name, three in wanted.items()}
            assert {name: value / base[kind][name] for name, value in epsilons.items()} == pytest.approx(
                {name: multiplier for name, multiplier in multipliers.items() if multiplier is not None}
            ), (kind, parametrization)
    assert {group.kind: group.epsilons for group in spec.at(parametrization="sp").groups()} == base


def test_base_epsilons_are_the_options() -> None:
    options = {"eps": 1e-3, "matrix_eps": 1e-4, "graft_eps": 1e-6, "adam": {"eps": 1e-7}}
    groups = {group.kind: group.epsilons for group in tiny_spec("shampoo", options).groups()}
    assert groups["mlp_in"] == {"eps": 1e-3, "matrix_eps": 1e-4, "graft_eps": 1e-6}
    assert groups["embedding"] == groups["readout"] == groups["vector"] == {"eps": 1e-7}


def test_spectral_keeps_the_residual_multiplier() -> None:
    """And its weight decay rule; sp has neither residual multiplier nor LR rule."""
    multipliers = {p: tiny_spec(parametrization=p, **GROWN).residual_multiplier for p in ("mup", "spectral", "sp")}
    assert multipliers == {"mup": 0.5, "spectral": 0.5, "sp": 1.0}
    assert tiny_spec(parametrization="spectral", **GROWN).weight_decay == tiny_spec(**GROWN).weight_decay == 1e-3 / 4


def test_spectral_is_another_run_even_at_the_base_shape() -> None:
    """Where all its numbers are those of mup, and sp's are too, which is mup's run there."""
    ids = {p: tiny_spec(parametrization=p, **{"optimizer.lr": 0.02}).run_id for p in ("mup", "sp", "spectral")}
    assert ids["mup"] == ids["sp"] != ids["spectral"]


def test_a_changed_copy_knows_nothing_of_what_it_was_copied_from() -> None:
    """Identity and resolved options are kept once they are worked out, by the spec that they are of."""
    spec = tiny_spec("muon")
    known = spec.run_id, spec.optimizer.resolved_options
    other = spec.optimizer.model_copy(update={"options": {"lr_convention": "match_rms_adamw"}})
    changed = spec.model_copy(update={"optimizer": other})
    assert changed.run_id == tiny_spec("muon", {"lr_convention": "match_rms_adamw"}).run_id != known[0]
    assert other.resolved_options != known[1]
    assert (spec.run_id, spec.optimizer.resolved_options) == known


@pytest.mark.parametrize(
    ("recipe", "options", "sides"),
    [
        ("adamw", {}, [Sides()] * 5),
        ("shampoo", {}, [Sides(), Sides(True, True), Sides(True, True), Sides(True, True), Sides()]),
        # An embedding's output and a readout's input: the vocabulary is left alone.
        ("soap-all", {}, [Sides(True, False), *[Sides(True, True)] * 3, Sides(False, True)]),
        # mlp_in is 64 x 16 at width 16, mlp_out 16 x 64.
        ("soap", {"one_sided": True}, [Sides(), Sides(True, False), Sides(False, True), Sides(True, False), Sides()]),
        (
            "shampoo",
            {"max_preconditioner_dim": 63},
            [Sides(), Sides(True, True), Sides(False, True), Sides(True, False), Sides()],
        ),
        ("soap", {"max_preconditioner_dim": 15}, [Sides()] * 5),
    ],
)
def test_sides(recipe: str, options: dict[str, Any], sides: list[Sides]) -> None:
    """Output axis, input axis."""
    groups = {group.kind: group.sides for group in tiny_spec(recipe, options).groups()}
    assert groups == dict(zip(KINDS, [*sides, Sides()], strict=True))


@pytest.mark.parametrize(
    ("recipe", "options", "words"),
    [
        ("adamw", {}, []),
        ("signum", {}, []),
        ("sgd", {}, []),
        ("muon", {}, []),
        ("muon-all", {}, []),
        ("adamuon", {}, []),
        ("shampoo", {}, []),
        ("shampoo", {"graft_per_block": True}, ["per block"]),
        ("sgd", {"clip_norm": 1.0}, ["clip_norm"]),
        ("shampoo-quarter-all", {"clip_norm": 1.0}, ["clip_norm"]),
        ("shampoo", {"clip_norm": 1.0}, []),
        ("shampoo-quarter-all", {}, []),
        ("soap-all", {}, []),
        ("soap", {"factorised": True}, ["factorised", "full one"]),
        ("normuon", {}, ["per row", "AdaMuon's"]),
        ("normuon", {"preserve_norm": True}, ["per row", "Muon's rule"]),
        ("schedulefree-adamw", {}, ["averaged iterates"]),
        ("sf-normuon", {}, ["per row", "AdaMuon's", "averaged iterates"]),
        ("muonh", {}, ["fixed norms"]),
        ("soaph", {"factorised": True}, ["fixed norms", "factorised"]),
    ],
)
def test_what_the_theory_does_not_cover_is_said(recipe: str, options: dict[str, Any], words: list[str]) -> None:
    said = tiny_spec(recipe, options).optimizer.resolved_options.uncovered()
    assert bool(said) == bool(words)
    assert all(word in "; ".join(said) for word in words)


@pytest.mark.parametrize(
    ("recipe", "options", "drift"),
    [
        ("adamw", {}, -1),
        ("signum", {}, -1),
        ("sgd", {}, 0),
        ("muon", {}, 0),
        ("normuon", {}, -1),
        ("normuon", {"preserve_norm": True}, 0),
        ("shampoo", {}, -1),
        ("shampoo-quarter", {}, -1),
        ("shampoo-quarter", {"block_size": 0}, 0),
        ("shampoo-quarter", {"exponent": 0.5}, -2),
        ("soap", {}, -1),
        ("soap", {"block_size": 0}, 0),
        ("soap", {"block_size": 0, "one_sided": True}, -0.5),
        ("soap", {"block_size": 0, "max_preconditioner_dim": 15}, -1),
        ("sf-normuon", {}, -1),
        ("muonh", {}, 0),
        ("adamh", {}, -0.5),
    ],
)
def test_theory_drift(recipe: str, options: dict[str, Any], drift: float) -> None:
    """Of the best base LR with width, as a power: the hidden LR rule where nothing applies it, else 0."""
    spec = tiny_spec(recipe, options, parametrization="sp")
    assert job_of(spec).exponents["hidden"] == pytest.approx(drift)
    for applied in (rule for name, rule in RULED if name == recipe):
        assert job_of(spec.at(parametrization=applied)).exponents["hidden"] == 0


@pytest.mark.parametrize(
    ("recipe", "drift"),
    [
        *((name, -1) for name in ("adamw", "sgd", "muon", "shampoo")),
        ("muon-all", -0.5),
        ("shampoo-quarter-all", -1),  # e = 1/4 on the input side, in blocks: -(1 - e) - e
        ("soap-all", -1),
    ],
)
def test_theory_drift_of_the_readout(recipe: str, drift: float) -> None:
    """Its output is the vocabulary, which does not grow."""
    spec = tiny_spec(recipe, parametrization="sp")
    assert job_of(spec).exponents["readout"] == pytest.approx(drift)
    assert job_of(spec.at(parametrization="mup")).exponents["readout"] == 0


@pytest.mark.parametrize("recipe", ["adamh", "muonh", "shampooh", "soaph"])
def test_matrices_that_keep_their_norm_do_not_decay(recipe: str) -> None:
    decays = {group.kind: group.weight_decay for group in tiny_spec(recipe).groups()}
    assert decays == by_kind((1e-3, 0.0, 1e-3), 0.0)


def test_clipping_changes_no_update_of_a_fixed_size() -> None:
    """Where Shampoo without a graft would shrink with width."""
    assert tiny_spec("shampooh", {"clip_norm": 1.0}).optimizer.resolved_options.uncovered() == (
        tiny_spec("shampooh").optimizer.resolved_options.uncovered()
    )


@pytest.mark.parametrize(
    ("recipe", "options", "parametrization", "words"),
    [
        ("adamh", {}, "spectral", "Hyperball sets as well"),
        ("muonh", {"lr_convention": "match_rms_adamw"}, "mup", "lr_convention"),
    ],
)
def test_what_would_set_the_update_s_size_a_second_time_is_refused(
    recipe: str, options: dict[str, Any], parametrization: str, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        tiny_spec(recipe, options, parametrization=parametrization)
