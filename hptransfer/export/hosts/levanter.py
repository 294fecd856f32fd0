"""levanter: the YAML of ``levanter.main.train_lm``.

AdamW and SOAP have one learning rate there; Muon has two, and scales each matrix by its shape, which is taken out.
``MuonConfig.lr`` is read by nothing: matrices take ``learning_rate``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from hptransfer.export.canonical import Canonical, Run, Training
from hptransfer.export.host import comments, other_epsilons, present, refusal, same
from hptransfer.export.muon import map_flags, matrix_lr, no_matrix_lr, plain_refusal
from hptransfer.optimizers.rules.conventions import LrConvention

FILE = "train_lm.yaml"
RECIPES = ("adamw", "muon", "soap-all")
MODES: dict[bool, LrConvention] = {False: "original", True: "match_rms_adamw"}  # use_kimi_scaling
# Everything but gains and biases, by the module's path and by its class: levanter's default leaves embeddings out too.
DECAYED = r"(?i)(?!.*(norm|\bln_|bias))"


@dataclass(frozen=True)
class Levanter:
    """levanter, as marin has it on PyPI."""

    name: str = "levanter"
    version: str = "0.2.20 (marin-levanter)"

    def refuse(self, record: Canonical) -> str | None:
        muon = record.optimizer is not None and record.optimizer.recipe == "muon"
        if (why := refusal(record, "levanter", RECIPES, role_wise=not muon)) is not None:
            return why
        return _muon_refusal(record.known) if muon else _one_rate_refusal(record.known)

    def render(self, record: Canonical) -> dict[str, str]:
        run = record.known
        settings = {
            "optimizer": _optimizer(run) | _schedule(run.training),
            "trainer": {"num_train_steps": run.training.steps, "train_batch_size": run.training.batch_sequences},
            "train_seq_len": run.training.context,
        }
        scaled = "levanter's Muon scales updates of matrices by shape" if run.optimizer.recipe == "muon" else None
        head = comments(record, self.name, self.version, scaled=scaled, otherwise=_otherwise(run))
        return {FILE: head + yaml.safe_dump(settings, sort_keys=False)}


def _muon_refusal(run: Run) -> str | None:
    optimizer = run.optimizer
    options, rates = optimizer.options, present(optimizer)
    if options["clip_norm"] is not None:
        return "levanter's Muon clips the norm of its Adam's gradients alone"
    if (why := plain_refusal(options, "levanter")) is not None:
        return why
    if matrix_lr(optimizer, MODES) is None:
        return no_matrix_lr(optimizer, "levanter", MODES)
    return _apart(rates, "levanter's Muon has one learning rate for all that is no hidden matrix")


def _one_rate_refusal(run: Run) -> str | None:
    optimizer, model = run.optimizer, run.model
    options = optimizer.options
    rates = present(optimizer) | {"hidden": optimizer.roles["hidden"].lr}
    if optimizer.recipe == "soap-all":
        if options["one_sided"] or options["factorised"]:
            return "levanter's SOAP is neither one-sided nor factorised"
        if model.vocab <= _longest(run):
            return (
                f"levanter's SOAP leaves axes alone by their length, and the vocabulary of {model.vocab}, which the runs left "
                f"alone, is no longer than the longest of the others, {_longest(run)}"
            )
    return _apart(rates, f"levanter's {optimizer.recipe} has one learning rate")


def _apart(rates: dict[str, float], what: str) -> str | None:
    """Why one learning rate is not enough; None: it is."""
    if all(same(rate, next(iter(rates.values()))) for rate in rates.values()):
        return None
    return f"{what}; predicted are {', '.join(f'{role} {rate:.6g}' for role, rate in rates.items())}"


def _longest(run: Run) -> int:
    """The longest axis that the runs preconditioned."""
    return max(
        size
        for weight in run.optimizer.weights
        for size, preconditioned in ((weight.d_out, weight.sides.left), (weight.d_in, weight.sides.right))
        if preconditioned
    )


def _optimizer(run: Run) -> dict[str, Any]:
    optimizer = run.optimizer
    options, roles = optimizer.options, optimizer.roles
    hidden = next(weight for weight in optimizer.weights if weight.role == "hidden")
    common = {"weight_decay_modules": DECAYED, "max_grad_norm": float(options["clip_norm"] or 0.0)}
    if optimizer.recipe == "muon":
        found = matrix_lr(optimizer, MODES)
        assert found is not None, "refused"
        kimi, lr = found
        coefficients, count = map_flags(options)
        return {
            "type": "muon",
            "learning_rate": lr,
            "adam_lr": roles["embedding"].lr,
            "weight_decay": hidden.weight_decay / lr,
            "adam_weight_decay": roles["embedding"].weight_decay_coupled,
            "momentum": options["momentum"],
            "nesterov": options["nesterov"],
            "backend_steps": count,
            "coefficient_type": coefficients,
            "use_kimi_scaling": kimi,
            "beta1": options["adam"]["beta1"],
            "beta2": options["adam"]["beta2"],
            "epsilon": roles["embedding"].epsilons["eps"],
            # Its momentum is a sum, 1 / (1 - momentum) times the average that the runs had.
            "muon_epsilon": hidden.epsilons["eps"] / (1 - options["momentum"]),
            **common,
        }
    plain = {
        "learning_rate": roles["hidden"].lr,
        "weight_decay": roles["hidden"].weight_decay_coupled,
        "beta1": options["beta1"],
        "beta2": options["beta2"],
        "epsilon": roles["hidden"].epsilons["eps"],
        **common,
    }
    if optimizer.recipe == "adamw":
        return {"type": "adam", **plain}
    return {
        "type": "soap",
        **plain,
        "shampoo_beta": options["beta2"],
        "precondition_frequency": options["precondition_frequency"],
        "max_precond_dim": _longest(run) + 1,
        "merge_small_dims": False,
        "partition_grads_into_blocks": options["block_size"] > 0,
        **({"block_size": options["block_size"]} if options["block_size"] else {}),
    }


def _schedule(training: Training) -> dict[str, Any]:
    """1 is all of the run where it counts, not one step: a warm-up or cool-down of one step is written as a share."""
    schedule, steps = training.schedule, training.steps
    whole = {"warmup": schedule.warmup_steps}
    if schedule.shape == "trapezoid":
        whole["decay"] = training.cooldown_steps
    return {
        "lr_schedule": "linear" if schedule.shape == "trapezoid" else schedule.shape,
        "min_lr_ratio": 0.0,
        **{name: 1.5 / steps if count == 1 else count for name, count in whole.items()},
    }


def _otherwise(run: Run) -> Iterator[str]:
    optimizer, warmup = run.optimizer, run.training.schedule.warmup_steps
    given = optimizer.roles["embedding" if optimizer.recipe == "muon" else "hidden"].epsilons["eps"]
    yield from other_epsilons(optimizer, {"embedding": given, "readout": given})
    if warmup:
        yield f"the warm-up is one step late: levanter begins it at 0, the runs at 1/{warmup}"
    if optimizer.recipe == "soap-all" and not optimizer.options["skip_first_step"]:
        yield "the first step only builds the bases; the runs updated at it"


LEVANTER = Levanter()
