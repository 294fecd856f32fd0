"""A small experiment with known truth: records, predictions and validations, without any training."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import yaml
from records import record_of

from hptransfer.base.intervals import Interval
from hptransfer.base.refusals import Refusal
from hptransfer.experiment import Experiment
from hptransfer.experiment.arm import Arm
from hptransfer.experiment.membership import members
from hptransfer.experiment.settings import DataSpec, Parametrization
from hptransfer.runs import CurvePoint, Job, Point, Record, Store
from hptransfer.trainers.ours.points import resolve
from hptransfer.transfer.prediction import (
    Bowl,
    Check,
    Drift,
    Estimate,
    HoldOut,
    Optimum,
    Prediction,
    default_path,
)
from hptransfer.validate.coordinates import CoordinateCheck
from hptransfer.validate.result import AtSize, Kind, Multiplier, SeedNoise, Speedup, TargetRun, Validation
from hptransfer.validate.results import Results
from hptransfer.validate.standing import protocols

DATA = DataSpec(corpus="stdlib", tokenizer="bytes", sha256="ab" * 32, vocab=256)
BEST_LR = {"adamw": 0.008, "muon": 0.02, "shampoo": 0.006, "soap": 0.005}
LOSS = {"adamw": 1.62, "muon": 1.55, "shampoo": 1.57, "soap": 1.54}
CURVATURE, SKEW = 0.02, 1.5
BEST_DECAY, DECAY_CURVATURE = 0.001, 0.004
SEARCHED_LRS = (0.1, 0.2, 0.35, 0.6, 1.0, 1.7, 3.0, 5.0)  # factors on the optimum
SEARCHED_DECAYS = ((0.9, 0.1), (1.15, 0.3), (0.8, 3.0), (1.0, 10.0), (0.3, 5.0))  # factors on the best LR and weight decay


def experiment(optimizers: tuple[str, ...] = ("adamw", "muon"), **changes: object) -> Experiment:
    fields = {
        "name": "sample",
        "description": "A sample with known truth.",
        "model": {"depth": 3, "head_dim": 16, "context": 128},
        "base_width": 32,
        "widths": [32, 64, 128],
        "target_width": 256,
        "horizon": {"policy": "tokens", "tokens": 2_097_152},
        "batch_sequences": 64,
        "schedule": {"shape": "linear", "warmup_tokens": 65_536},
        "optimizers": optimizers,
        "search": {"trials": 9},
    }
    return Experiment.model_validate(fields | changes)


def job(
    experiment: Experiment,
    optimizer: str,
    width: int,
    lr: float,
    wd: float = 0.001,
    seed: int = 0,
    horizon: float = 1.0,
    parametrization: Parametrization = "mup",
) -> Job:
    tuned = {"lr": lr, "weight_decay": wd}
    made = resolve(experiment.point(Arm.of(optimizer, parametrization), DATA, width=width, seed=seed, **tuned))
    return made if horizon == 1.0 else resolve(made.point.at(tokens=round(made.point["tokens"] * horizon)))


def true_loss(optimizer: str, width: int, lr: float, tokens_factor: float = 1.0, wd: float = BEST_DECAY) -> float:
    distance = math.log(lr / BEST_LR[optimizer])
    bowl = CURVATURE * (distance * (SKEW if distance > 0 else 1)) ** 2 + DECAY_CURVATURE * math.log(wd / BEST_DECAY) ** 2
    return LOSS[optimizer] * (256 / width) ** 0.09 * tokens_factor**-0.06 * math.exp(bowl)


def record(made: Job, state: str = "complete", reason: str | None = None) -> Record:
    point = made.point
    optimizer, width, tokens = point.settings["optimizer"], int(point["width"]), point["tokens"]
    jitter = (int(made.run_id[:4], 16) / 65535 - 0.5) * 0.004
    loss = true_loss(optimizer, width, point["lr"], tokens / 2_097_152, point["weight_decay"]) * (1 + jitter)
    batch = int(point["batch_tokens"])
    done = made.steps if state == "complete" else made.steps // 4
    curve = tuple(
        CurvePoint(step=step, tokens=step * batch, schedule=1.0, train=value, val=value)
        for step in sorted({0, *(round(done * i / 12) for i in range(1, 13))})
        for value in [loss + (5.5 - loss) * math.exp(-9 * (step / made.steps) ** 0.5)]
    )
    flops = made.flops or math.nan
    seconds = width / 256 * tokens / 2_097_152 * {"adamw": 160, "muon": 185, "shampoo": 230, "soap": 250}[optimizer]
    finished = record_of(
        made,
        loss if state == "complete" else None,
        state=state,
        reason=reason,
        steps=done,
        tokens=done * batch,
        bits_per_byte=loss / math.log(2) if state == "complete" else None,
        curve=curve,
        flops=flops * done / made.steps,
        flops_optimizer=flops * 0.04,
        training_wall_seconds=seconds,
        optimizer_wall_seconds=seconds * 0.1,
        peak_memory_bytes=10**8,
        optimizer_state_bytes=10**7,
        device="cpu",
        finished_at="2026-01-02T03:04:05+00:00",
    )
    return finished.model_copy(update={"versions": {"python": "3.11.9", "torch": "2.13.0"}})


def search_records(experiment: Experiment, parametrization: Parametrization = "mup") -> list[Record]:
    """Learning rates and weight decays per optimizer and width, the largest LR diverged; one failed run."""
    return [made for optimizer in experiment.optimizers for made in arm_records(experiment, optimizer, parametrization)]


def arm_records(experiment: Experiment, optimizer: str, parametrization: Parametrization = "mup") -> list[Record]:
    """Those of one arm; the first has the run that failed."""
    found, best = [], BEST_LR[optimizer]
    for width in experiment.widths:
        tuned = [(best * factor, BEST_DECAY) for factor in SEARCHED_LRS]
        tuned += [(best * f, BEST_DECAY * g) for f, g in SEARCHED_DECAYS]
        found += [record(job(experiment, optimizer, width, lr, wd, parametrization=parametrization)) for lr, wd in tuned]
        ceiling = job(experiment, optimizer, width, best * 9, parametrization=parametrization)
        found.append(record(ceiling, "diverged", "loss is not finite at step 64"))
    if optimizer == experiment.optimizers[0]:
        first = job(experiment, optimizer, experiment.widths[0], 0.0111, seed=7, parametrization=parametrization)
        found.append(record(first, "failed", "worker died & <was> not restarted"))
    return found


def prediction(experiment: Experiment, optimizer: str, parametrization: Parametrization = "mup") -> Prediction:
    """Made up, of the very runs of `search_records`; one of its checks fails."""
    best, width = BEST_LR[optimizer], experiment.target_width
    made = job(experiment, optimizer, width, best * 1.04, parametrization=parametrization)
    optima = [
        Optimum(
            scales={"width": width},
            best={"lr": Interval(value=best * f, low=best * f * 0.85, high=best * f * 1.2)},
            loss=true_loss(optimizer, width, best),
            runs=8,
            diverged=1,
            flops=at_width.flops,
            parameters=at_width.parameters,
        )
        for width, f in zip(experiment.widths, (0.97, 1.05, 1.0), strict=True)
        for at_width in [job(experiment, optimizer, width, best)]
    ]
    unknown = {"low": None, "high": None}
    return Prediction(
        name=Arm.of(optimizer, parametrization).name,
        hyperparameters={
            "lr": Estimate(value=made.point["lr"], low=best * 0.86, high=best * 1.24),
            "weight_decay": Estimate(value=0.001, status="rule", why=Refusal.of("no_dependence"), **unknown),
            "embedding_lr_ratio": Estimate(value=1.0, status="frozen", why=Refusal.of("frozen", scale="width"), **unknown),
        },
        drifts=(
            Drift(
                hyperparameter="lr",
                scale="width",
                theory=0.0,
                fitted=0.04,
                low=-0.06,
                high=0.13,
                used=0.018,
                reason="the fit does not differ from theory",
            ),
        ),
        expected_regret=0.0008,
        noise=0.001,
        budget={f"width {width}": 9 for width in experiment.widths},
        optima=tuple(optima),
        bowl=Bowl(curvature=CURVATURE, skew=SKEW),
        hold_out=HoldOut(scales={"width": 128}, predicted=best * 1.02, own=best, regret=0.0002),
        checks=(
            Check(name="same horizon policy", ok=True, detail="tokens"),
            Check(name="batch in the swept range", ok=False, detail="a < b"),
        ),
        job=made,
        provenance={
            "store": "runs",
            "machine": "test",
            "run_ids": sorted(run.run_id for run in arm_records(experiment, optimizer, parametrization)),
        },
    )


def at_lr(told: Prediction, lr: float) -> Prediction:
    """The same with another learning rate, and its interval about that."""
    moved = {end: getattr(told.lr, end) * lr / told.lr.value for end in ("low", "high")}
    estimate = told.lr.model_copy(update=moved | {"value": lr})
    return told.model_copy(
        update={"hyperparameters": told.hyperparameters | {"lr": estimate}, "job": resolve(told.point.at(lr=lr))}
    )


def constant(told: Prediction) -> Prediction:
    """The same at a constant learning rate."""
    return told.model_copy(update={"job": told.run.model_copy(update={"point": flat(told.run)})})


def flat(made: Job) -> Point:
    """The run's point at a constant learning rate."""
    return made.point.at(schedule=made.point.settings["schedule"] | {"shape": "constant"})


def validated(experiment: Experiment, optimizer: str, refusal: Refusal | None = None) -> tuple[Validation, list[Record]]:
    """A validation, made up, and the runs at the held-out width that it rests on."""
    told, width = prediction(experiment, optimizer), experiment.target_width
    lr = told.lr.value
    records: list[Record] = []

    def run(recipe: str, kind: Kind, factor: float, best: float, seeds: tuple[int, ...] = (0,)) -> TargetRun:
        lr = best * factor if kind == "lr_probe" else best
        decay = 0.001 * factor if kind == "weight_decay_probe" else 0.001
        horizon = factor if kind == "horizon" else 1.0
        made = [record(job(experiment, recipe, width, lr, decay, seed=seed, horizon=horizon)) for seed in seeds]
        records.extend(made)
        return TargetRun(
            kind=kind,
            factor=factor,
            lr=lr,
            weight_decay=decay,
            tokens=int(made[0].point["tokens"]),
            losses=tuple(r.loss for r in made),
            loss=sum(r.loss or 0 for r in made) / len(made),
            standard_error=0.0012,
            run_ids=tuple(r.run_id for r in made),
        )

    runs = _target_runs(run, optimizer, lr)
    own, baseline, speedup = optimizer == "adamw" or "adamw" not in experiment.optimizers, (), None
    if not own:
        base_lr = prediction(experiment, "adamw").lr.value
        longer = (run("adamw", "horizon", factor, base_lr, (0, 1)) for factor in (0.5, 2.0, 4.0))
        baseline = (*_target_runs(run, "adamw", base_lr), *longer)
        speedup = Speedup(
            compute_multiplier={
                "tokens": Multiplier(value=1.56, low=1.42, high=1.71, bracketed=True, p_value=0.001),
                "flops": Multiplier(value=1.56, low=1.42, high=1.71, bracketed=True, p_value=0.001),
                "flops_with_optimizer": Multiplier(value=1.42, low=1.3, high=1.6, bracketed=True, p_value=0.002),
                "wall_clock": Multiplier(value=4.0, low=3.5, high=None, bracketed=False, bound=">", p_value=0.0),
            },
            law=Multiplier(value=1.51, low=1.37, high=1.68, bracketed=True, p_value=0.001),
            within_run=Multiplier(value=1.21, low=None, high=None, bracketed=False, bound=">"),
            sizes=tuple(_size(experiment, optimizer, width) for width in (*experiment.widths, experiment.target_width)),
            trend=Interval(value=0.01, low=-0.02, high=0.05),
        )
    validation = Validation(
        arm=optimizer,
        optimizer=optimizer,
        parametrization="mup",
        width=width,
        baseline=None if own else "adamw",
        prediction=told.digest,
        preregistered=True,
        regret=Interval(value=0.0011, low=0.0002, high=0.0021),
        noise=SeedNoise(sd=0.001, freedom=5),
        speedup=None if refusal else speedup,
        refusal=refusal,
        runs=runs,
        baseline_runs=baseline,
    )
    return validation, records


def _target_runs(run: Callable[..., TargetRun], optimizer: str, lr: float) -> tuple[TargetRun, ...]:
    return (
        run(optimizer, "predicted", 1.0, lr, (0, 1)),
        *(run(optimizer, "lr_probe", factor, lr) for factor in (0.5, 0.707, 1.414, 2.0)),
        *(run(optimizer, "weight_decay_probe", factor, lr) for factor in (0.5, 2.0)),
        run(optimizer, "same_hyperparameters", 1.0, lr * 1.3),
        run(optimizer, "mup_only", 1.0, lr * 1.2),
    )


def _size(experiment: Experiment, optimizer: str, width: int) -> AtSize:
    made = job(experiment, optimizer, width, BEST_LR[optimizer])
    beyond = width == experiment.target_width
    return AtSize(
        width=width,
        parameters=made.parameters,
        flops=made.flops,
        baseline_loss=true_loss("adamw", width, BEST_LR["adamw"]),
        loss=true_loss(optimizer, width, BEST_LR[optimizer]),
        multiplier=Multiplier(value=1.5, low=1.4, high=1.6, bracketed=not beyond, extrapolated=beyond, p_value=0.001),
        law=Multiplier(value=1.48, low=1.4, high=1.6, bracketed=not beyond, extrapolated=beyond, p_value=0.001),
    )


def coordinate_check(
    experiment: Experiment, optimizer: str, parametrization: str = "mup", **changes: object
) -> dict[str, object]:
    """A file of ``python -m hptransfer.coordcheck``: the hidden slope at step 10 is outside the tolerance for any but AdamW."""
    steep = {"adamw": 0.03}.get(optimizer, -0.11)
    slopes = [
        {
            "role": role,
            "step": step,
            "slope": slope,
            "slopes_by_seed": [slope - 0.01, slope, slope + 0.02],
            "outcome": "not judged" if step > 10 else "fails" if abs(slope) > 0.08 else "passes",
            "rms": {"32": 0.5, "64": 0.5},
        }
        for role in ("embedding", "hidden", "readout")
        for step in (3, 10, 50)
        for slope in [steep if (role, step) == ("hidden", 10) else 0.002 * step]
    ]
    found = {
        "optimizer": optimizer,
        "parametrization": parametrization,
        "passed": optimizer == "adamw",
        "verdict": f"{'passed' if optimizer == 'adamw' else 'failed'}: the steepest slope judged is that of hidden at t = 10",
        "tolerance": 0.08,
        "lr": BEST_LR[optimizer] / 4,
        "embedding_lr_ratio": 1.0,
        "lr_source": "a quarter of the tuned one",
        "options": experiment.space(Arm.of(optimizer, parametrization)).fixed_options(),
        "base_width": experiment.base_width,
        "widths": [32, 64, 128],
        "seeds": 3,
        "corpus": DATA.model_dump(),
        "slopes": slopes,
    }
    return found | changes


def held_out(experiment: Experiment, predictions: Iterable[Prediction]) -> list[Record]:
    """Every run that the predictions are validated by."""
    records: dict[str, Record] = {}
    for protocol in protocols(experiment, {told.name: told for told in predictions}, resolve):
        while missing := protocol.missing(records):
            records |= {made.run_id: record(made) for made in missing}
    return list(records.values())


def sound(experiment: Experiment, optimizer: str) -> Prediction:
    """The prediction, with every check passed."""
    return prediction(experiment, optimizer).model_copy(update={"checks": ()})


def write_all(folder: Path, experiment: Experiment, *, predicted: bool = True, tested: bool = True) -> Path:
    """Store and predictions under ``folder`` as the commands leave them; returns the experiment's file."""
    store = Store(folder / "runs")
    told = {optimizer: sound(experiment, optimizer) for optimizer in experiment.optimizers} if predicted else {}
    for made in (*search_records(experiment), *(held_out(experiment, told.values()) if tested else ())):
        store.add(made)
    for optimizer, one in told.items():
        path = folder / default_path(experiment.name, optimizer, experiment.target_width)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(one.model_dump_json())
    if tested:
        for optimizer, one in told.items():
            register(store, one)
            check = folder / "reports" / "coordcheck" / f"{optimizer}-mup.json"
            check.parent.mkdir(parents=True, exist_ok=True)
            check.write_text(json.dumps(coordinate_check(experiment, optimizer)))
    file = folder / "sample.yaml"
    file.write_text(yaml.safe_dump(experiment.model_dump(mode="json")))
    return file


def register(store: Store, told: Prediction, at: str = "2026-01-01T00:00:00+00:00") -> None:
    """Written to the store before its runs began."""
    content = {"registered_at": at, "prediction": told.model_dump(mode="json")}
    store.files.write(f"predictions/{told.run.run_id}.json", json.dumps(content).encode())


def results(experiment: Experiment, *, predicted: bool = True, tested: bool = True) -> Results:
    """A finished experiment, whose predictions and validations are made up."""
    tests = {optimizer: validated(experiment, optimizer) for optimizer in experiment.optimizers} if tested else {}
    checks = {optimizer: coordinate_check(experiment, optimizer) for optimizer in tests}
    return Results(
        experiment,
        predictions={name: prediction(experiment, name) for name in experiment.optimizers} if predicted else {},
        validations={name: validation for name, (validation, _) in tests.items()},
        target=job(experiment, experiment.optimizers[0], experiment.target_width, 1.0),
        coordinate_checks={name: CoordinateCheck.model_validate(check) for name, check in checks.items()},
        members=members([*search_records(experiment), *(r for _, runs in tests.values() for r in runs)], experiment, resolve),
    )


def with_records(found: Results, records: Iterable[Record]) -> Results:
    """The same of other runs."""
    return replace(found, members=members(records, found.experiment, resolve))


def edited(found: Results, edit: Callable[[Record], Record]) -> Results:
    """The same with every run as ``edit`` makes it, each in the arms that it was in."""
    parts = (found.members.searched, found.members.held_out)
    searched, tested = ({arm: tuple(map(edit, runs)) for arm, runs in part.items()} for part in parts)
    return replace(found, members=replace(found.members, searched=searched, held_out=tested))


def at_constant_lr(made: Record) -> Record:
    """The run at a constant learning rate, whatever its identity is."""
    return made.model_copy(update={"job": made.job.model_copy(update={"point": flat(made.job)})})


def changed(made: Record, **outcome: object) -> Record:
    """The run with something else in its outcome."""
    return made.model_copy(update={"outcome": made.outcome.model_copy(update=outcome)})


def with_validation(found: Results, **changes: object) -> Results:
    """With another validation of Muon."""
    return replace(found, validations=found.validations | {"muon": found.validations["muon"].model_copy(update=changes)})


def lost(found: Results, which: Callable[[TargetRun], bool], *, baseline: bool = False) -> tuple[TargetRun, ...]:
    """The runs of Muon's validation, or the baseline's in it, of which ``which`` have diverged on every seed."""
    validation = found.validations["muon"]
    runs = validation.baseline_runs if baseline else validation.runs
    assert any(map(which, runs))
    gone = {"loss": None, "standard_error": None, "losses": (None,)}
    return tuple(run.model_copy(update=gone) if which(run) else run for run in runs)


def with_winner(found: Results) -> tuple[Results, TargetRun]:
    """A probe of AdamW won over its prediction: run anew with two fresh seeds, from which the ladder starts."""
    runs = found.validations["muon"].baseline_runs
    around, rungs = ([run for run in runs if (run.kind == "horizon") == is_rung] for is_rung in (False, True))
    probe = next(run for run in around if (run.kind, run.factor) == ("lr_probe", 0.5))
    made = [record(job(found.experiment, "adamw", 256, probe.lr, seed=seed)) for seed in (1, 2)]
    losses = tuple(run.loss for run in made)
    again = {"losses": losses, "loss": sum(filter(None, losses)) / 2, "run_ids": tuple(run.run_id for run in made)}
    winner = probe.model_copy(update=again)
    return with_validation(with_records(found, (*found.records, *made)), baseline_runs=(*around, winner, *rungs)), winner
