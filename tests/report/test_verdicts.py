from __future__ import annotations

import pytest

from hptransfer.base.intervals import Interval
from hptransfer.base.refusals import Refusal
from hptransfer.report.pairs import Pair
from hptransfer.report.verdicts import against_verdict, finding, headline, prediction_verdict, speed_verdict, survival_verdict
from hptransfer.validate.result import AtScale, Axis, Kind, Multiplier, SeedNoise, Size, Speedup, Survival, TargetRun, Validation

DASH = "\N{EN DASH}"


def measured(value: float, low: float | None, high: float | None, p: float | None = None) -> Multiplier:
    return Multiplier(value=value, low=low, high=high, bracketed=True, p_value=p)


def bound(sign: str, value: float, p: float | None = None, low: float | None = None, high: float | None = None) -> Multiplier:
    return Multiplier(value=value, low=low, high=high, bracketed=False, bound=sign, p_value=p)


def speedup(multipliers: dict[Axis, Multiplier], sizes: tuple[Size, ...] = ()) -> Speedup:
    return Speedup(compute_multiplier=multipliers, law=None, within_run=None, sizes=sizes, trend=None)


def speed(multiplier: Multiplier, pair: Pair | None = None, **others: Multiplier) -> tuple[str, str]:
    verdict = speed_verdict("muon", "AdamW", 128, speedup({"flops_with_optimizer": multiplier, **others}), pair)
    return verdict.text, verdict.tone


def pair(seeds: int | None, lower: str = "muon", runs: tuple[int, int] = (3, 3)) -> Pair:
    higher = "adamw" if lower == "muon" else "muon"
    return Pair(lower=lower, higher=higher, difference=0.005, relative=0.003, p_value=0.2, runs=runs, seeds=seeds)


def run(kind: Kind, loss: float | None, error: float | None = 0.001, factor: float = 1.0) -> TargetRun:
    return TargetRun(
        kind=kind,
        factor=factor,
        lr=0.01,
        weight_decay=0.001,
        tokens=1000,
        losses=(loss,),
        loss=loss,
        standard_error=None if loss is None else error,
        run_ids=("a",),
    )


def validation(regret: Interval | None, *runs: TargetRun) -> Validation:
    return Validation(
        arm="muon",
        optimizer="muon",
        parametrization="mup",
        width=128,
        prediction="ab",
        preregistered=True,
        noise=SeedNoise(sd=0.001, freedom=5),
        regret=regret,
        speedup=None,
        runs=runs,
    )


def test_a_speedup_is_said_with_its_certainty() -> None:
    words, tone = speed(measured(1.42, 1.36, 1.58, 0.003))
    certainty = f"(80 %: 1.36{DASH}1.58; p = 0.003)"
    assert words == f"muon saves compute: AdamW needs 1.42x the compute for the same loss at width 128 {certainty}."
    assert tone == "good"


def test_a_speedup_that_is_not_shown_says_how_many_seeds_would_show_it() -> None:
    words, tone = speed(measured(1.03, 0.97, 1.1, 0.3), pair(11))
    certainty = f"(80 %: 0.97{DASH}1.10; p = 0.30)"
    seeds = "11 seeds of each would show a loss that is 0.30 % lower"
    assert words == f"No speedup is shown: 1.03x at width 128 {certainty}; {seeds}."
    assert tone == "plain"


@pytest.mark.parametrize(
    ("compared", "ending"),
    [
        (None, "p = 0.30)."),
        (pair(None), "p = 0.30)."),
        (pair(11, lower="adamw"), "p = 0.30)."),  # the other's loss is lower: there is no difference in its favour
        (pair(3), "p = 0.30)."),  # it had so many
        (pair(4000), "more than 1,000 seeds of each would be needed to show a loss that is 0.30 % lower."),
    ],
)
def test_seeds_are_named_only_where_they_would_help(compared: Pair | None, ending: str) -> None:
    assert speed(measured(1.03, 0.97, 1.1, 0.3), compared)[0].endswith(ending)


def test_slower_is_said_as_plainly() -> None:
    words, tone = speed(measured(0.8, 0.75, 0.9, 0.99))
    expected = "muon costs more compute than AdamW: AdamW reaches its loss with 0.80x the compute at width 128"
    assert words == f"{expected} (80 %: 0.75{DASH}0.90; p = 0.010)."
    assert tone == "bad"


def test_bounds_say_which_run_set_them() -> None:
    words, tone = speed(bound(">", 4.0, p=0.0, low=3.5))
    assert "more than 4.00x the compute" in words and "its longest run there did not reach muon's loss" in words
    assert "(80 %: from 3.50; p < 0.001)" in words and tone == "good"
    words, tone = speed(bound("<", 0.5, p=1.0))
    assert "with less than 0.50x the compute" in words and tone == "bad"
    words, tone = speed(bound(">", 0.9))
    assert words.startswith("No speedup is shown yet: AdamW's longest run, at 0.90x the compute of muon, did not reach its loss")
    assert tone == "plain"
    words, tone = speed(bound("<", 1.5))
    assert words.startswith("No speedup is shown: AdamW's shortest run, at 1.50x the compute of muon, already had its loss")
    assert tone == "plain"


@pytest.mark.parametrize(
    ("multiplier", "expected"),
    [
        (measured(1.4, 1.2, 1.6, 0.049), "faster"),
        (measured(1.4, 1.2, 1.6, 0.051), "open"),  # the p-value decides, not the interval
        (measured(0.7, 0.6, 0.8, 0.951), "slower"),
        (measured(0.7, 0.6, 0.8, 0.949), "open"),
        (measured(1.4, 1.2, 1.6), "faster"),
        (measured(1.4, 0.99, 1.6), "open"),
        (measured(1.4, None, None), "open"),
        (measured(0.7, 0.6, 0.8), "slower"),
        (measured(0.7, 0.6, 1.01), "open"),
        (measured(0.98, 0.9, 1.1, 0.01), "open"),  # a p-value cannot make a slowdown a speedup
        (bound(">", 2.0, low=1.9), "faster"),
        (bound(">", 2.0), "open"),  # no end of the interval is known
        (bound(">", 2.0, low=0.9), "open"),
        (bound(">", 0.9, p=0.001), "open"),
        (bound("<", 0.5, high=0.6), "slower"),
        (bound("<", 0.5), "open"),
        (bound("<", 2.0, p=0.001), "open"),  # below 2.0 may be below 1
        (bound(">", 0.5, p=0.999), "open"),
    ],
)
def test_what_a_multiplier_shows(multiplier: Multiplier, expected: str) -> None:
    assert finding(multiplier) == expected


def test_a_saving_that_the_clock_does_not_show_says_so() -> None:
    fast = measured(1.42, 1.36, 1.58, 0.003)
    assert speed(fast, wall_clock=measured(1.2, 1.1, 1.3, 0.01))[0] == speed(fast)[0]
    words = speed(fast, wall_clock=measured(0.8, 0.7, 0.9, 0.99))[0]
    assert words.endswith(f"; by wall-clock it is slower, 0.80x (80 %: 0.70{DASH}0.90; p = 0.010).")
    assert "; by wall-clock nothing is shown, 1.01x" in speed(fast, wall_clock=measured(1.01, 0.9, 1.1, 0.4))[0]


def test_the_headline_is_compute_with_the_optimizers_own_where_it_is_known() -> None:
    one: dict[Axis, Multiplier] = {"wall_clock": measured(3, 2, 4), "tokens": measured(2, 1, 3)}
    assert headline(one) == ("tokens", one["tokens"])
    assert headline(one | {"flops_with_optimizer": measured(1.5, 1, 2)}) == ("flops_with_optimizer", measured(1.5, 1, 2))
    assert headline({}) is None
    assert (
        "saves tokens: AdamW needs 2.00x the tokens"
        in speed_verdict("muon", "AdamW", 128, speedup({"tokens": measured(2, 1.5, 3)})).text
    )
    assert "saves time" in speed_verdict("muon", "AdamW", 128, speedup({"wall_clock": measured(2, 1.5, 3)})).text
    assert speed_verdict("muon", "AdamW", 128, speedup({})).text == "No compute multiplier was measured."


def test_without_other_horizons_sizes_are_all_there_is_to_compare_over() -> None:
    size = Size(
        width=64, parameters=1, flops=1.0, baseline_loss=2.0, loss=1.9, multiplier=measured(1.3, 1.2, 1.4, 0.001), law=None
    )
    verdict = speed_verdict("patched", "plain", 64, speedup({}, (size,)))
    assert verdict.text.startswith("Over model sizes plain needs 1.30x the compute of patched at width 64")
    assert verdict.tone == "good" and "no other horizon" in verdict.text


@pytest.mark.parametrize(
    ("verdict", "slope", "tone", "words"),
    [
        ("holds", Interval(value=0.001, low=-0.01, high=0.012), "good", "It survives scale"),
        ("grows", Interval(value=0.1, low=0.05, high=0.15), "good", "ten times the compute multiply it by 1.26"),
        ("shrinks", Interval(value=-0.1, low=-0.15, high=-0.05), "bad", "ten times the compute multiply it by 0.79"),
        ("cannot_tell", None, "plain", "cannot be told: the baseline's horizons bracket the loss at 2 scales"),
    ],
)
def test_survival_is_said_with_its_slope(verdict: str, slope: Interval | None, tone: str, words: str) -> None:
    scale = AtScale(width=64, flops=1.0, multiplier=measured(1.3, 1.2, 1.4), is_held_out=False)
    reason = Refusal.of("few_scales", bracketed=2, needed=3) if slope is None else None
    said = survival_verdict(Survival(verdict=verdict, slope=slope, scales=(scale,), reason=reason))
    assert words in said.text and said.tone == tone


def test_the_prediction_is_within_the_noise_or_above_it() -> None:
    small = validation(Interval(value=0.001, low=0.0, high=0.002), run("predicted", 1.5016), run("lr_probe", 1.5))
    verdict = prediction_verdict(small)
    expected = f"The prediction is within the noise of the best found around it: 0.10 % above (80 %: 0.00{DASH}0.20)."
    assert (verdict.text, verdict.tone) == (expected, "good")
    large = validation(Interval(value=0.01, low=0.008, high=0.012), run("predicted", 1.515), run("lr_probe", 1.5))
    verdict = prediction_verdict(large)
    expected = f"The prediction is 1.00 % above the best found around it (80 %: 0.80{DASH}1.20)."
    assert (verdict.text, verdict.tone) == (expected, "plain")


def test_a_prediction_whose_optimum_is_not_located_or_that_diverged() -> None:
    open_end = Interval(value=0.004, low=0.001, high=None)
    verdict = prediction_verdict(validation(open_end, run("predicted", 1.51), run("lr_probe", 1.5)))
    expected = "The probes do not bracket the optimum: the prediction is 0.40 % above the best found around it, or more."
    assert verdict.text == expected
    alone = prediction_verdict(validation(Interval(value=0.0, low=0.0, high=None), run("predicted", 1.51)))
    assert alone.text.startswith("No probe around it has a loss")
    lost = prediction_verdict(validation(None, run("predicted", None)))
    assert (lost.text, lost.tone) == ("The predicted run diverged.", "bad")


@pytest.mark.parametrize("regret", [None, Interval(value=0.001, low=0.0, high=0.002)])
def test_one_diverged_seed_is_counted_and_never_within_the_noise(regret: Interval | None) -> None:
    half = run("predicted", None).model_copy(update={"losses": (1.5, None), "run_ids": ("a", "b")})
    verdict = prediction_verdict(validation(regret, half, run("lr_probe", 1.5)))
    assert (verdict.text, verdict.tone) == ("1 of 2 seeds of the predicted run diverged.", "bad")


def test_the_prediction_against_transfers_without_a_fit() -> None:
    regret = Interval(value=0.0, low=0.0, high=0.001)
    predicted = run("predicted", 1.5)
    found = against_verdict(validation(regret, predicted, run("same_hyperparameters", 1.53), run("mup_only", 1.501)))
    assert found is not None
    expected = "Against the same hyperparameters: 2.00 % better; against muP alone: not distinguishable (0.07 % better)."
    assert found.text == expected
    found = against_verdict(validation(regret, predicted, run("same_hyperparameters", None), run("mup_only", 1.48)))
    assert found is not None
    expected = "Against the same hyperparameters: diverged, which the prediction did not; against muP alone: 1.33 % worse."
    assert found.text == expected
    assert against_verdict(validation(regret, predicted)) is None
    assert against_verdict(validation(None, run("predicted", None), run("mup_only", 1.5))) is None


def test_transfers_are_compared_on_the_seeds_that_both_have() -> None:
    regret = Interval(value=0.0, low=0.0, high=0.001)
    predicted = run("predicted", 1.52).model_copy(update={"losses": (1.5, 1.54), "run_ids": ("a", "b")})
    found = against_verdict(validation(regret, predicted, run("mup_only", 1.5041)))
    assert found is not None and "not distinguishable (0.27 % better)" in found.text  # 2 sqrt(2) 0.1 % at one seed
    found = against_verdict(validation(regret, predicted, run("mup_only", 1.5046)))
    assert found is not None and found.text == "Against muP alone: 0.31 % better."
