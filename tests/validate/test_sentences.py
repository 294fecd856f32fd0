"""Verdicts: which numbers they say, in which sense, and how sure."""

from __future__ import annotations

import pytest

from hptransfer.base.intervals import Interval
from hptransfer.base.refusals import Refusal
from hptransfer.validate.pairs import Pair
from hptransfer.validate.result import (
    AtScale,
    AtSize,
    Axis,
    Kind,
    Multiplier,
    SeedNoise,
    Speedup,
    Survival,
    TargetRun,
    Validation,
)
from hptransfer.validate.sentences import Verdict, against_verdict, prediction_verdict, speed_verdict, survival_verdict

DASH = "\N{EN DASH}"
REGRET = Interval(value=0.001, low=0.0, high=0.002)


def measured(value: float, low: float | None, high: float | None, p: float | None = None) -> Multiplier:
    return Multiplier(value=value, low=low, high=high, bracketed=True, p_value=p)


def bound(sign: str, value: float, p: float | None = None, low: float | None = None, high: float | None = None) -> Multiplier:
    return Multiplier(value=value, low=low, high=high, bracketed=False, bound=sign, p_value=p)


def speedup(multipliers: dict[Axis, Multiplier], sizes: tuple[AtSize, ...] = ()) -> Speedup:
    return Speedup(compute_multiplier=multipliers, law=None, within_run=None, sizes=sizes, trend=None)


def speed(multiplier: Multiplier, pair: Pair | None = None, **others: Multiplier) -> Verdict:
    return speed_verdict("muon", "AdamW", "width 128", speedup({"flops_with_optimizer": multiplier, **others}), pair)


def pair(seeds: int | None, lower: str = "muon", runs: tuple[int, int] = (3, 3)) -> Pair:
    higher = "adamw" if lower == "muon" else "muon"
    return Pair(lower=lower, higher=higher, difference=0.005, relative=0.003, p_value=0.2, runs=runs, seeds=seeds)


def run(kind: Kind, *losses: float | None) -> TargetRun:
    known = [loss for loss in losses if loss is not None]
    loss = sum(known) / len(known) if len(known) == len(losses) else None
    ids = tuple(f"{kind}{seed}" for seed in range(len(losses)))
    error = None if loss is None else 0.001
    numbers = {"lr": 0.01, "weight_decay": 0.001, "tokens": 1000, "factor": 1.0}
    return TargetRun(kind=kind, losses=losses, loss=loss, standard_error=error, run_ids=ids, **numbers)


def validation(regret: Interval | None, *runs: TargetRun) -> Validation:
    noise, where = SeedNoise(sd=0.001, freedom=5), {"parametrization": "mup", "width": 128, "prediction": "ab"}
    return Validation(
        arm="muon", optimizer="muon", **where, preregistered=True, noise=noise, regret=regret, speedup=None, runs=runs
    )


@pytest.mark.parametrize(
    ("multiplier", "tone", "numbers"),
    [
        (measured(1.42, 1.36, 1.58, 0.003), "good", ("saves compute", "1.42x", "width 128", f"1.36{DASH}1.58", "p = 0.003")),
        (measured(1.03, 0.97, 1.1, 0.3), "plain", ("No speedup is shown", "1.03x", "width 128", f"0.97{DASH}1.10", "p = 0.30")),
        # A slowdown is said as plainly, with the probability that it is none.
        (measured(0.8, 0.75, 0.9, 0.99), "bad", ("costs more compute", "0.80x", "width 128", f"0.75{DASH}0.90", "p = 0.010")),
        (bound(">", 4.0, p=0.0, low=3.5), "good", ("more than 4.00x", "longest run", "from 3.50", "p < 0.001")),
        (bound("<", 0.5, p=1.0), "bad", ("less than 0.50x",)),
        (bound(">", 0.9), "plain", ("No speedup is shown", "longest run", "0.90x", "did not reach")),
        (bound("<", 1.5), "plain", ("No speedup is shown", "shortest run", "1.50x", "already")),
    ],
)
def test_a_multiplier_is_said_with_its_certainty(multiplier: Multiplier, tone: str, numbers: tuple[str, ...]) -> None:
    said = speed(multiplier)
    assert said.tone == tone
    assert [number for number in numbers if number not in said.text] == []


@pytest.mark.parametrize(
    ("compared", "number"),
    [
        (pair(11), "11 seeds"),
        (pair(4000), "1,000 seeds"),
        (None, ""),
        (pair(None), ""),
        (pair(11, lower="adamw"), ""),  # the other's loss is lower: there is no difference in its favour
        (pair(3), ""),  # it had so many
    ],
)
def test_seeds_are_named_only_where_they_would_help(compared: Pair | None, number: str) -> None:
    text = speed(measured(1.03, 0.97, 1.1, 0.3), compared).text
    assert ("seeds" in text and "0.30 % lower" in text and number in text) if number else "seeds" not in text


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
    assert multiplier.finding == expected


def test_multipliers_in_words() -> None:
    known, above = measured(1.424, 1.2, 1.6), bound(">", 2)
    assert (known.words, known.ends, known.in_full) == ("1.42x", f"1.20{DASH}1.60", f"1.42x (1.20{DASH}1.60)")
    assert above.in_full == "> 2.00x (not bracketed)"
    assert bound("<", 2).words == "< 2.00x"
    assert known.model_copy(update={"bracketed": False, "extrapolated": True}).ends == f"1.20{DASH}1.60, extrapolated"


def test_a_saving_that_the_clock_does_not_show_says_so() -> None:
    fast = measured(1.42, 1.36, 1.58, 0.003)
    assert speed(fast, wall_clock=measured(1.2, 1.1, 1.3, 0.01)) == speed(fast)
    slower = speed(fast, wall_clock=measured(0.8, 0.7, 0.9, 0.99)).text.removeprefix(speed(fast).text)
    assert "wall-clock" in slower and f"0.80x (80 %: 0.70{DASH}0.90; p = 0.010)" in slower
    assert "nothing is shown: 1.01x" in speed(fast, wall_clock=measured(1.01, 0.9, 1.1, 0.4)).text


def test_the_headline_is_compute_with_the_optimizers_own_where_it_is_known() -> None:
    one: dict[Axis, Multiplier] = {"wall_clock": measured(3, 2, 4), "tokens": measured(2, 1.5, 3)}
    assert speedup(one).headline == ("tokens", one["tokens"])
    both = one | {"flops_with_optimizer": measured(1.5, 1, 2)}
    assert speedup(both).headline == ("flops_with_optimizer", both["flops_with_optimizer"])
    assert speedup({}).headline is None
    for axis, what in (("tokens", "saves tokens"), ("wall_clock", "saves time")):
        assert what in speed_verdict("muon", "AdamW", "width 128", speedup({axis: measured(2, 1.5, 3)})).text
    assert speed_verdict("muon", "AdamW", "width 128", speedup({})).tone == "plain"


def test_without_other_horizons_sizes_are_all_there_is_to_compare_over() -> None:
    numbers = {"flops": 1.0, "baseline_loss": 2.0, "loss": 1.9, "multiplier": measured(1.3, 1.2, 1.4, 0.001)}
    verdict = speed_verdict("patched", "plain", "width 64", speedup({}, (AtSize(width=64, parameters=1, **numbers, law=None),)))
    assert "Over model sizes" in verdict.text and "1.30x" in verdict.text and "width 64" in verdict.text
    assert verdict.tone == "good"


@pytest.mark.parametrize(
    ("verdict", "slope", "tone", "words"),
    [
        ("holds", Interval(value=0.001, low=-0.01, high=0.012), "good", "+0.001 (90 %: -0.010 to +0.012)"),
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


@pytest.mark.parametrize(
    ("regret", "runs", "tone", "words"),
    [
        (REGRET, (run("predicted", 1.5016), run("lr_probe", 1.5)), "good", f"0.10 % above (80 %: 0.00{DASH}0.20)"),
        (
            Interval(value=0.01, low=0.008, high=0.012),
            (run("predicted", 1.515), run("lr_probe", 1.5)),
            "plain",
            f"1.00 % above the best found around it (80 %: 0.80{DASH}1.20)",
        ),
        (Interval(value=0.004, low=0.001, high=None), (run("predicted", 1.51), run("lr_probe", 1.5)), "plain", "0.40 % above"),
        (Interval(value=0.0, low=0.0, high=None), (run("predicted", 1.51),), "plain", "No probe"),
        (None, (run("predicted", None),), "bad", "predicted run diverged"),
        # One diverged seed is counted, and never within the noise.
        (None, (run("predicted", 1.5, None), run("lr_probe", 1.5)), "bad", "1 of 2 seeds"),
        (REGRET, (run("predicted", 1.5, None), run("lr_probe", 1.5)), "bad", "1 of 2 seeds"),
    ],
)
def test_a_prediction_is_judged_by_its_regret(
    regret: Interval | None, runs: tuple[TargetRun, ...], tone: str, words: str
) -> None:
    verdict = prediction_verdict(validation(regret, *runs))
    assert verdict.tone == tone and words in verdict.text
    assert ("or more" in verdict.text) == (regret is not None and regret.high is None)


@pytest.mark.parametrize(
    ("predicted", "same", "alone", "says"),
    [
        ((1.5,), (1.53,), (1.501,), ("hyperparameters: 2.00 % better", "alone: not distinguishable (0.07 % better)")),
        ((1.5,), (None,), (1.48,), ("hyperparameters: diverged", "alone: 1.33 % worse")),
        # On the seeds that both have: 2 sqrt(2) 0.1 % at one seed.
        ((1.5, 1.54), (1.5041,), (1.5046,), ("hyperparameters: not distinguishable (0.27 % better)", "alone: 0.31 % better")),
    ],
)
def test_the_prediction_against_transfers_without_a_fit(
    predicted: tuple[float, ...], same: tuple[float | None, ...], alone: tuple[float | None, ...], says: tuple[str, ...]
) -> None:
    runs = run("predicted", *predicted), run("same_hyperparameters", *same), run("mup_only", *alone)
    found = against_verdict(validation(REGRET, *runs))
    assert found is not None and all(words in found.text for words in says)


def test_without_a_loss_of_the_prediction_or_a_transfer_there_is_nothing_against() -> None:
    assert against_verdict(validation(REGRET, run("predicted", 1.5))) is None
    assert against_verdict(validation(None, run("predicted", None), run("mup_only", 1.5))) is None
