"""Numbers in names."""

import pytest

from hptransfer.runs.sources.named import add_named, numbers_in


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("width128", {"width": 128}),
        ("w128-lr0.01", {"w": 128, "lr": 0.01}),
        ("d_model=512,depth=4", {"d_model": 512, "depth": 4}),
        ("w128d12lr1e-3", {"w": 128, "d": 12, "lr": 1e-3}),
        ("muon_w512_lr2e-2_wd0.01", {"w": 512, "lr": 0.02, "wd": 0.01}),
        ("width-128/lr_0.003/seed_1", {"width": 128, "lr": 0.003, "seed": 1}),
        ("adamw_weight_decay0.1", {"weight_decay": 0.1}),
        ("log_lr=-3", {"log_lr": -3}),
        ("lr-0.01", {"lr": 0.01}),
        ("adam_beta2=0.95", {"beta2": 0.95}),
        ("N=125M_D=2.5B", {"N": "125M", "D": "2.5B"}),
        ("train_00014_14_lr=0.0625,width=512_2025-11-13_09-48-11", {"lr": 0.0625, "width": 512}),
        ("version_0", {}),
        ("run-3", {}),
        ("lr1e-3x", {}),
        ("2025-11-13_09-48-11", {}),
        ("", {}),
    ],
)
def test_the_numbers_of_a_name(name, found):
    assert numbers_in(name) == found


def test_what_is_chance_is_left_out():
    rows = [{}, {}, {}]
    add_named(rows, ["w128/x7", "w256/ab12", "w512"])
    assert rows == [{"w": 128}, {"w": 256}, {"w": 512}]


def test_what_a_column_says_already_is_left_out():
    rows = [{"config.model.width": 128, "params_lr": None}, {"user_attrs_width": 256, "params_lr": 0.1}]
    add_named(rows, ["width1-lr0.1", "width2-lr0.2"])
    assert [row.get("width") for row in rows] == [None, None]
    assert [row.get("lr") for row in rows] == [0.1, None]
