"""What the library does for a model of yours: the home of those public functions. No torch until one is called."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hptransfer.base.errors import UsageError
from hptransfer.experiment.settings import Parametrization
from hptransfer.export.canonical import canonical, read_record
from hptransfer.export.host import unknown_run
from hptransfer.optimizers import get_recipe
from hptransfer.transfer.prediction import Prediction

if TYPE_CHECKING:
    from torch import nn

    from hptransfer.modules.width import WidthRules
    from hptransfer.optimizers.engine import ChainOptimizer


def build_optimizer(
    model: nn.Module, prediction: Prediction | str | Path, *, roles: Mapping[str, str] | None = None
) -> ChainOptimizer:
    """The optimizer of a predicted run over any model, each parameter with the final numbers of its role.

    ``model``: any ``nn.Module``, after DDP, FSDP2 (``fully_shard``) or ``torch.compile`` if it has them. ``prediction``: a
    `Prediction` of an experiment's arm, the file of one, or the ``run.json`` that ``hptransfer export`` writes.

    Roles go by module and name, and every trainable parameter has exactly one: tensors of one dimension are vectors, the weight
    of an embedding is an embedding; of linear layers the one called ``lm_head``, ``readout`` and the like, else the last one with
    an output for each token, is the readout, and all others are hidden. ``roles`` goes before these rules: a role by regular
    expression, searched in the name, as ``{"pos_emb": "embedding"}``. A tensor that is embedding and readout at once (tied) is
    refused where these have different numbers, unless ``roles`` gives it one. `role_table` shows what each parameter got.

    The learning rates are final, of a model as wide as the prediction's: nothing may scale them again. A scheduler of torch may
    move them in time, and weight decay, which is independent of the learning rate, follows: W <- W - s (lr U + weight_decay W), s
    being the scheduled over the first learning rate. ``state_dict`` holds tensors and plain numbers.

    Raises `UsageError`, one line, for a parameter without a role, an override that matches nothing, a model of another width than
    the predicted one, and a prediction whose optimizer is not known (of a table or a program).

    >>> optimizer = hptransfer.build_optimizer(model, "predictions/quickstart/soap-128.json", roles={"pos_emb": "embedding"})
    >>> print(hptransfer.role_table(optimizer))
    """
    from hptransfer.modules.optimizer import optimizer_of  # torch

    record = prediction if isinstance(prediction, Prediction) else read_record(prediction)
    record = canonical(record) if isinstance(record, Prediction) else record
    if (why := unknown_run(record)) is not None:
        raise UsageError(f"{record.name} has no optimizer to build: {why}")
    optimizer, parametrization, _, training = record.known
    return optimizer_of(
        model,
        get_recipe(optimizer.recipe),
        optimizer.options,
        [weight.model_dump(include={"role", "d_out", "d_in", "lr", "weight_decay", "epsilons"}) for weight in optimizer.weights],
        batch_tokens=training.batch_tokens,
        spectral=parametrization.name == "spectral",
        overrides=roles,
    )


def width_rules(
    model_fn: Callable[[int], nn.Module],
    base: int,
    target: int,
    optimizer: str = "adamw",
    *,
    options: Mapping[str, Any] | None = None,
    parametrization: Parametrization = "mup",
    zero_readout: bool = True,
    roles: Mapping[str, str] | None = None,
) -> WidthRules:
    """How learning rates, epsilons and initial values of a model of yours change from one width to another.

    Which dimensions of which parameter grow is found by building the model at both widths (mup's base shapes), the target on
    torch's meta device where it can be. A parameter's role is that of its module and name. From both follow the rules of arXiv
    2512.05620 (tables 1 and 2) for learning rates and epsilons, of arXiv 2203.03466 (table 3) for initial values.

    Parameters
        ``model_fn``: a function of a width that builds and initialises a ``torch.nn.Module``. Depth, vocabulary and whatever else
        is not a width stay as they are. ``base``, ``target``: the width that is tuned, and the one that is to be trained.
        ``optimizer``: a recipe (``adamw``, ``muon``, ``shampoo``, ``soap`` ...); ``options``: those of the recipe.
        ``parametrization``: ``sp`` leaves everything as built; ``spectral`` has the optimizer set the norm of every update.
        ``zero_readout``: else its initial values are the base's, divided by the ratio of widths.
        ``roles``: roles (``embedding``, ``hidden``, ``readout``, ``vector``) by regular expressions over parameter names.

    Returns
        The rules: ``parameters``, each with ``lr`` (what the base learning rate is multiplied by), ``epsilons`` and ``init_rms``;
        ``logit_multiplier``, and ``unset``, what the model must do besides. They print as a table, ``initialize`` a model, and
        make its ``optimizer``.

    Raises
        `UsageError`, one line: where the two models have different parameters, a dimension shrinks or a vocabulary grows, a
        parameter has no role (the router and the experts of a mixture have none yet), or the optimizer cannot be scaled so.

    >>> rules = hptransfer.width_rules(build, base=64, target=1024, optimizer="muon")
    >>> print(rules)
    >>> model = build(1024)
    >>> rules.initialize(model)
    >>> optimizer = rules.optimizer(model, lr=0.02, weight_decay=1e-3)
    """
    from hptransfer.modules.width import rules_between  # torch

    return rules_between(
        model_fn,
        base,
        target,
        optimizer,
        options=options,
        parametrization=parametrization,
        zero_readout=zero_readout,
        overrides=roles,
    )
