import pytest
from tiny import tiny_spec

from hptransfer.optimizers.rules.weight_decay import weight_decay_multiplier


@pytest.mark.parametrize(
    ("rule", "multiplier"),
    [("inverse_width", 1 / 4), ("constant", 1), ("constant_tau", 2 / 8)],
    ids=["1/width", "constant", "tau"],
)
def test_rules(rule: str, multiplier: float) -> None:
    assert weight_decay_multiplier(rule, width=4, tokens=8, batch_tokens=2) == multiplier


def test_constant_tau_keeps_the_decay_time_as_a_share_of_the_run() -> None:
    """tau = batch_tokens / (weight_decay tokens), whatever the horizon, batch and width."""
    base = tiny_spec(weight_decay_rule="constant_tau")
    target = base.at(**{"model.width": 64, "horizon.tokens": 30 * 128 * 6, "batch_sequences": 16})
    assert target.tokens == 6 * base.tokens and target.batch_tokens == 2 * base.batch_tokens
    tau = [spec.batch_tokens / (spec.weight_decay * spec.tokens) for spec in (base, target)]
    assert tau[1] == pytest.approx(tau[0])


@pytest.mark.parametrize("r", [2, 4, 8])
def test_inverse_width_is_constant_tau_where_tokens_grow_with_width(r: int) -> None:
    grown = {"width": r, "tokens": r}
    assert weight_decay_multiplier("inverse_width", **grown) == weight_decay_multiplier("constant_tau", **grown)
    assert weight_decay_multiplier("inverse_width", width=r, tokens=1) != weight_decay_multiplier(
        "constant_tau", width=r, tokens=1
    )


def test_all_matrices_have_the_same_weight_decay_and_vectors_none() -> None:
    decays = {group.kind: group.weight_decay for group in tiny_spec("shampoo", **{"model.width": 64}).groups()}
    assert decays.pop("vector") == 0
    assert decays == {kind: pytest.approx(1e-3 / 4) for kind in ("embedding", "attention", "mlp_in", "mlp_out", "readout")}


def test_weight_decay_does_not_follow_the_lr() -> None:
    """It is independent: another LR leaves it as it is."""
    assert tiny_spec(**{"optimizer.lr": 0.5}).weight_decay == tiny_spec().weight_decay == 1e-3
