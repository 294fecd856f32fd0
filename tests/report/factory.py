"""A small experiment with known truth: records, predictions and validations, without any training."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import yaml

from hptransfer.experiment import Experiment
from hptransfer.optimizers.recipe import ROLES
from hptransfer.report.results import Results, load_results
from hptransfer.runs import CurvePoint, RunRecord, Store
from hptransfer.trainers.ours.spec import DataSpec, OptimizerSpec, RunSpec
from hptransfer.transfer.prediction import (
    Check,
    Drift,
    HoldOut,
    Hyperparameters,
    Interval,
    Optimum,
    Prediction,
    RoleNumbers,
    Surface,
    Target,
    WeightDecay,
    default_path,
)
from hptransfer.validate.result import Kind, Multiplier, SeedNoise, Size, Speedup, TargetRun, Validation

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


def spec(
    experiment: Experiment,
    optimizer: str,
    width: int,
    lr: float,
    wd: float = 0.001,
    seed: int = 0,
    horizon: float = 1.0,
    parametrization: str = "mup",
) -> RunSpec:
    chosen = OptimizerSpec(recipe=optimizer, lr=lr, weight_decay=wd)
    made = experiment.run_spec(DATA, chosen, width=width, parametrization=parametrization, seed=seed)
    return made.at(**{"horizon.tokens": round(made.tokens * horizon)})


def true_loss(optimizer: str, width: int, lr: float, tokens_factor: float = 1.0, wd: float = BEST_DECAY) -> float:
    distance = math.log(lr / BEST_LR[optimizer])
    bowl = CURVATURE * (distance * (SKEW if distance > 0 else 1)) ** 2 + DECAY_CURVATURE * math.log(wd / BEST_DECAY) ** 2
    return LOSS[optimizer] * (256 / width) ** 0.09 * tokens_factor**-0.06 * math.exp(bowl)


def record(spec: RunSpec, state: str = "complete", reason: str | None = None) -> RunRecord:
    optimizer, width = spec.optimizer.recipe, spec.model.width
    jitter = (int(spec.run_id[:4], 16) / 65535 - 0.5) * 0.004
    chosen = spec.optimizer
    loss = true_loss(optimizer, width, chosen.lr, spec.tokens / 2_097_152, chosen.weight_decay) * (1 + jitter)
    done = spec.steps if state == "complete" else spec.steps // 4
    curve = tuple(
        CurvePoint(step=step, tokens=step * spec.batch_tokens, schedule=1.0, train=value, val=value)
        for step in sorted({0, *(round(done * i / 12) for i in range(1, 13))})
        for value in [loss + (5.5 - loss) * math.exp(-9 * (step / spec.steps) ** 0.5)]
    )
    seconds = width / 256 * spec.tokens / 2_097_152 * {"adamw": 160, "muon": 185, "shampoo": 230, "soap": 250}[optimizer]
    return RunRecord(
        run_id=spec.run_id,
        spec=spec,
        state=state,
        reason=reason,
        steps=done,
        tokens=done * spec.batch_tokens,
        loss=loss if state == "complete" else None,
        bits_per_byte=loss / math.log(2) if state == "complete" else None,
        curve=curve,
        flops=spec.flops * done / spec.steps,
        flops_optimizer=spec.flops * 0.04,
        training_wall_seconds=seconds,
        optimizer_wall_seconds=seconds * 0.1,
        peak_memory_bytes=10**8,
        optimizer_state_bytes=10**7,
        device="cpu",
        versions={"python": "3.11.9", "torch": "2.13.0"},
        finished_at="2026-01-02T03:04:05Z",
    )


def search_records(experiment: Experiment, parametrization: str = "mup") -> list[RunRecord]:
    """Learning rates and weight decays per optimizer and width, the largest LR diverged; one failed run."""
    found = []
    for optimizer in experiment.optimizers:
        for width in experiment.widths:
            lrs = [BEST_LR[optimizer] * factor for factor in SEARCHED_LRS]
            found += [record(spec(experiment, optimizer, width, lr, parametrization=parametrization)) for lr in lrs]
            found += [
                record(
                    spec(experiment, optimizer, width, BEST_LR[optimizer] * f, BEST_DECAY * g, parametrization=parametrization)
                )
                for f, g in SEARCHED_DECAYS
            ]
            ceiling = spec(experiment, optimizer, width, BEST_LR[optimizer] * 9, parametrization=parametrization)
            found.append(record(ceiling, "diverged", "loss is not finite at step 64"))
    first = spec(experiment, experiment.optimizers[0], experiment.widths[0], 0.0111, seed=7, parametrization=parametrization)
    return [*found, record(first, "failed", "worker died & <was> not restarted")]


def prediction(experiment: Experiment, optimizer: str, parametrization: str = "mup") -> Prediction:
    best = BEST_LR[optimizer]
    run = spec(experiment, optimizer, experiment.target_width, best * 1.04, parametrization=parametrization)
    groups = {group.role: group for group in run.groups()}
    optima = [
        Optimum(
            width=width,
            lr=Interval(value=best * f, low=best * f * 0.85, high=best * f * 1.2),
            loss=true_loss(optimizer, width, best),
            runs=8,
            diverged=1,
        )
        for width, f in zip(experiment.widths, (0.97, 1.05, 1.0), strict=True)
    ]
    return Prediction(
        optimizer=optimizer,
        parametrization=parametrization,
        target=Target(width=256, depth=3, tokens=run.tokens, batch_tokens=run.batch_tokens, parameters=run.model.parameters()),
        hyperparameters=Hyperparameters(
            lr=Interval(value=run.optimizer.lr, low=best * 0.86, high=best * 1.24),
            weight_decay=WeightDecay(value=run.weight_decay, low=None, high=None, status="not identified, rule used"),
            embedding_lr_ratio=1.0,
        ),
        drift=Drift(theory=0.0, fitted=0.04, low=-0.06, high=0.13, used=0.018, reason="the fit does not differ from theory"),
        roles={
            role: RoleNumbers(lr=g.lr, weight_decay=g.weight_decay, epsilons=g.epsilons) for role in ROLES for g in [groups[role]]
        },
        expected_regret=0.0008,
        noise=0.001,
        budget=dict.fromkeys(experiment.widths, 9),
        optima=tuple(optima),
        surface=Surface(curvature=CURVATURE, skew=SKEW),
        hold_out=HoldOut(width=128, predicted_lr=best * 1.02, own_lr=best, regret=0.0002),
        checks=(
            Check(name="same horizon policy", ok=True, detail="tokens"),
            Check(name="batch in the swept range", ok=False, detail="a < b"),
        ),
        spec=run,
        provenance={"store": "runs", "machine": "test"},
    )


def validated(experiment: Experiment, optimizer: str, refusal: str | None = None) -> tuple[Validation, list[RunRecord]]:
    """A validation and the runs at the held-out width that it rests on."""
    told = prediction(experiment, optimizer)
    lr = told.hyperparameters.lr.value
    records: list[RunRecord] = []

    def run(recipe: str, kind: Kind, factor: float, best: float, seeds: tuple[int, ...] = (0,)) -> TargetRun:
        lr = best * factor if kind == "lr_probe" else best
        decay = 0.001 * factor if kind == "weight_decay_probe" else 0.001
        horizon = factor if kind == "horizon" else 1.0
        made = [record(spec(experiment, recipe, 256, lr, decay, seed=seed, horizon=horizon)) for seed in seeds]
        records.extend(made)
        return TargetRun(
            kind=kind,
            factor=factor,
            lr=lr,
            weight_decay=decay,
            tokens=made[0].spec.tokens,
            losses=tuple(r.loss for r in made),
            loss=sum(r.loss or 0 for r in made) / len(made),
            standard_error=0.0012,
            run_ids=tuple(r.run_id for r in made),
        )

    runs = _target_runs(run, optimizer, lr)
    own, baseline, speedup = optimizer == "adamw", (), None
    if not own:
        base_lr = prediction(experiment, "adamw").hyperparameters.lr.value
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
        optimizer=optimizer,
        parametrization="mup",
        width=256,
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


def _size(experiment: Experiment, optimizer: str, width: int) -> Size:
    made = spec(experiment, optimizer, width, BEST_LR[optimizer])
    beyond = width == experiment.target_width
    return Size(
        width=width,
        parameters=made.model.parameters(),
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
        "base_width": experiment.base_width,
        "widths": [32, 64, 128],
        "seeds": 3,
        "corpus": DATA.model_dump(),
        "slopes": slopes,
    }
    return found | changes


def write_all(folder: Path, experiment: Experiment, *, predicted: bool = True, tested: bool = True) -> Path:
    """Store, predictions and validations under ``folder`` as the commands leave them; returns the experiment's file."""
    store, output = Store(folder / "runs"), folder / "reports" / experiment.name
    for made in search_records(experiment):
        store.add(made)
    for optimizer in experiment.optimizers:
        path = folder / default_path(optimizer, "mup", experiment.target_width)
        if predicted:
            path.parent.mkdir(exist_ok=True)
            path.write_text(prediction(experiment, optimizer).model_dump_json())
        if tested:
            validation, records = validated(experiment, optimizer)
            for made in records:
                store.add(made)
            output.mkdir(parents=True, exist_ok=True)
            (output / f"validation-{path.name}").write_text(validation.model_dump_json())
            check = output.parent / "coordcheck" / f"{optimizer}-mup.json"
            check.parent.mkdir(exist_ok=True)
            check.write_text(json.dumps(coordinate_check(experiment, optimizer)))
    file = folder / "sample.yaml"
    file.write_text(yaml.safe_dump(experiment.model_dump(mode="json")))
    return file


def results(folder: Path, experiment: Experiment, **kwargs: bool) -> Results:
    """`Results` of everything that ``write_all`` writes; the caller stands in ``folder``."""
    write_all(folder, experiment, **kwargs)
    return load_results(experiment, Store(folder / "runs"), folder / "reports" / experiment.name)
