"""What the library does for a model of yours: the home of those public functions. No torch until one is called."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from hptransfer.experiment.settings import Parametrization

if TYPE_CHECKING:
    from torch import nn

    from hptransfer.modules.width import WidthRules


def width_rules(
    model_fn: Callable[[int], nn.Module],
    base: int,
    target: int,
    optimizer: str = "adamw",
    *,
    options: Mapping[str, Any] | None = None,
    parametrization: Parametrization = "mup",
    zero_readout: bool = True,
    overrides: Mapping[str, str] | None = None,
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
        ``overrides``: roles (``embedding``, ``hidden``, ``readout``, ``vector``) by regular expressions over parameter names.

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
        overrides=overrides,
    )
