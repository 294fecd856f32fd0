"""Colours, marks and lines tell recipes and arms apart, for any eyes and on any paper."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from hptransfer.experiment.settings import PARAMETRIZATIONS
from hptransfer.optimizers import RECIPES, get_recipe
from hptransfer.report import palette

FAMILIES = (  # recipes that are related, and have related colours
    ("adamw", "schedulefree-adamw", "signum", "sgd"),
    ("muon", "muon-all", "normuon", "adamuon", "sf-normuon"),
    ("shampoo", "shampoo-quarter", "shampoo-quarter-all"),
    ("soap", "soap-all"),
    ("adamh", "muonh", "shampooh", "soaph"),
)
COLOURS = {name: get_recipe(name).colour for name in RECIPES.names()}
# Machado, Oliveira and Fernandes 2009, severity 1.
EYES = {
    "normal": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protan": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deutan": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "tritan": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}


def linear(colour: str) -> np.ndarray:
    value = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ np.clip(rgb, 0, 1)
    ratio = xyz / np.array([0.9505, 1.0, 1.089])
    f = np.where(ratio > 0.008856, np.cbrt(ratio), 7.787 * ratio + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def test_every_recipe_has_a_colour() -> None:
    assert len(COLOURS) == len(set(COLOURS.values()))


@pytest.mark.parametrize("eyes", EYES)
def test_any_two_recipes_are_told_apart(eyes: str) -> None:
    seen = {name: lab(np.array(EYES[eyes]) @ linear(colour)) for name, colour in COLOURS.items()}
    closest = min(combinations(seen, 2), key=lambda pair: float(np.linalg.norm(seen[pair[0]] - seen[pair[1]])))
    assert np.linalg.norm(seen[closest[0]] - seen[closest[1]]) >= 16, closest


@pytest.mark.parametrize("paper", ["#ffffff", "#1b1d21"])
def test_every_colour_stands_out_from_light_and_dark_paper(paper: str) -> None:
    weights = np.array([0.2126, 0.7152, 0.0722])
    ground = float(linear(paper) @ weights)
    for name, colour in COLOURS.items():
        light, dark = sorted((float(linear(colour) @ weights), ground), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 2, name


def test_mark_and_line_differ_within_a_family_and_between_parametrizations() -> None:
    for family in FAMILIES:
        alone = [palette.places([(name, "mup")])[0] for name in family]
        assert len(set(map(palette.shape, alone))) == len({str(palette.dash(place)) for place in alone}) == len(family)
    for name in RECIPES.names():
        kinds = palette.places((name, parametrization) for parametrization in PARAMETRIZATIONS)
        assert len(set(map(palette.shape, kinds))) == 3


def test_arms_of_one_recipe_and_parametrization_differ_in_mark_too() -> None:
    places = palette.places([("muon", "mup"), ("muon", "sp"), ("muon", "mup"), ("muon", "sp")])
    assert len(set(places)) == 4 and places[:2] == palette.places([("muon", "mup"), ("muon", "sp")])
    assert len(palette.places([("muon", "mup")] * 9)) == 9  # more than there are marks
