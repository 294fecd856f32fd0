"""What every recipe must do."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from tiny import LRS, RULED, SPECTRAL_LR, gradients, hidden_optimizer, tiny_corpus, tiny_spec

from hptransfer.models.gpt.family import GPT_FAMILY
from hptransfer.models.model import Model
from hptransfer.optimizers import RECIPES, Recipe
from hptransfer.optimizers.engine import ChainOptimizer
from hptransfer.optimizers.engine.optimizer import FAST
from hptransfer.testing.recipes import RECIPE_CHECKS, Rates
from hptransfer.testing.small import flat_weights, model_and_optimizer, take_steps, through_a_file
from hptransfer.trainers.ours.build import chain
from hptransfer.trainers.ours.data.batches import batch
from hptransfer.trainers.ours.spec import RunSpec

CORPUS = tiny_corpus()
EVERY_RECIPE = pytest.mark.parametrize("recipe", RECIPES.names())
UNDER_EVERY_RULE = pytest.mark.parametrize(("recipe", "parametrization"), RULED)


def steps(spec: RunSpec, model: Model, optimizer: ChainOptimizer, first: int, last: int) -> list[float]:
    return take_steps(CORPUS, spec, model, optimizer, first, last)


@EVERY_RECIPE
@pytest.mark.parametrize("check", RECIPE_CHECKS, ids=lambda check: check.__name__)
def test_conformance(recipe: str, check: Callable[[Recipe, Rates], None]) -> None:
    check(RECIPES.get(recipe), {"mup": LRS.get(recipe, 0.02), "spectral": SPECTRAL_LR})


@UNDER_EVERY_RULE
def test_gains_are_trained_by_adam_without_decay(recipe: str, parametrization: str) -> None:
    """Beside the recipe's matrices; their state round-trips. Adam moves an entry by about an LR a step."""
    spec = tiny_spec(recipe, parametrization=parametrization, **{"model.norm_gains": True})
    model, optimizer = model_and_optimizer(spec)
    losses = steps(spec, model, optimizer, 0, 30)
    assert sum(losses[-5:]) / 5 < losses[0] - 1.0
    gains = torch.stack([parameter.detach() for name, parameter in model.named_parameters() if GPT_FAMILY.kind(name) == "vector"])
    assert len(gains) == 2 * spec.model.depth + 1
    lr = next(group for group in optimizer.param_groups if group["kind"] == "vector")["lr"]
    assert lr < (gains - 1).abs().max() < 30 * lr
    assert next(group for group in optimizer.param_groups if group["kind"] == "vector")["weight_decay"] == 0
    again, resumed = model_and_optimizer(spec)
    again.load_state_dict(model.state_dict())
    resumed.load_state_dict(through_a_file(optimizer.state_dict()))
    assert steps(spec, again, resumed, 30, 33) == steps(spec, model, optimizer, 30, 33)


@EVERY_RECIPE
def test_bfloat16_parameters_have_float32_state(recipe: str) -> None:
    spec = tiny_spec(recipe, precision="bfloat16")
    model, optimizer = model_and_optimizer(spec)
    losses = steps(spec, model, optimizer, 0, 30)
    assert sum(losses[-5:]) / 5 < losses[0] - 1.0
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    state = [tensor for tensors in optimizer.state.values() for tensor in tensors.values()]
    assert {tensor.dtype for tensor in state} == {torch.float32}
    assert all(tensor.isfinite().all() for tensor in [*state, flat_weights(model)])


@EVERY_RECIPE
def test_every_matrix_moves_as_soon_as_it_has_a_gradient(recipe: str) -> None:
    """With zero outputs the readout has its first gradient at step 1, the branches' outputs at 2, the rest at 3; the steps
    before leave everything finite, and what is preconditioned does not have to wait for its next refresh. SOAP's first gradient
    only builds bases, which delays whatever it serves, and what waits for that. Where norms are kept no output but the readout
    starts at zero."""
    spec = tiny_spec(recipe, **{"optimizer.weight_decay": 0.0})
    model, optimizer = model_and_optimizer(spec)
    moved_at: dict[str, int] = {}
    for step in range(6):
        loss = model(*batch(CORPUS.train, seed=0, step=step, sequences=8, context=spec.model.context))
        loss.backward()
        before = {name: (parameter.detach().clone(), parameter.grad) for name, parameter in model.named_parameters()}
        optimizer.step()
        for name, parameter in model.named_parameters():
            old, grad = before[name]
            # Of what plain SGD would do, or of an update with RMS 1.
            usual = grad.norm() if recipe == "sgd" else math.sqrt(grad.numel())
            assert parameter.isfinite().all()
            if (parameter.detach() - old).norm() > 1e-2 * spec.optimizer.lr * usual:
                moved_at.setdefault(name, step + 1)
        optimizer.zero_grad()
    # The readout, the embedding, the branches' outputs, the rest.
    steps_of = {"soap": (1, 2, 3, 5), "soap-all": (2, 4, 4, 6), "soaph": (1, 2, 3, 3)}
    usual_steps = (1, 2, 2, 2) if RECIPES.get(recipe).keeps_norms else (1, 2, 2, 3)
    readout, embedding, output, rest = steps_of.get(recipe, usual_steps)
    wanted = {name: output if "output" in name else rest for name, _ in model.named_parameters()}
    assert moved_at == wanted | {"readout.weight": readout, "embedding.weight": embedding}


@UNDER_EVERY_RULE
def test_zero_gradients_move_nothing(recipe: str, parametrization: str) -> None:
    """Also beside a matrix that has gradients; and the first gradient may come long after the first step. SOAP's first one moves
    nothing either."""
    idle = 1 if recipe.startswith("soap") else 0
    late, early = (torch.randn(16, 12, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    start = late.clone()
    optimizer = hidden_optimizer(tiny_spec(recipe, parametrization=parametrization), [late, early], lr=0.1)
    for step, grad in enumerate(gradients((16, 12), 8, torch.float32)):
        early.grad, late.grad = grad, (torch.zeros_like(grad) if step < 4 else grad.flip(0))
        previous, passed = late.clone(), early.clone()
        optimizer.step()
        assert step < idle or 0.01 < (early - passed).abs().max() < 1.0
        if step < 4 + idle:
            assert torch.equal(late, start)
        else:
            assert 0.002 < (late - previous).abs().max() < 1.0


@EVERY_RECIPE
def test_a_used_optimizer_takes_a_state_dict(recipe: str) -> None:
    """What it did before leaves no trace."""
    spec = tiny_spec(recipe)
    model, optimizer = model_and_optimizer(spec)
    steps(spec, model, optimizer, 0, 4)
    saved = through_a_file({"model": model.state_dict(), "optimizer": optimizer.state_dict()})
    straight = steps(spec, model, optimizer, 4, 7)
    model.load_state_dict(saved["model"])
    optimizer.load_state_dict(saved["optimizer"])
    assert steps(spec, model, optimizer, 4, 7) == straight


@UNDER_EVERY_RULE
def test_the_epsilons_are_inside_the_transforms(recipe: str, parametrization: str) -> None:
    """Those of the rule table (tests/optimizers/rules); under spectral the chain ends with what sets the norm."""
    spec = tiny_spec(recipe, parametrization=parametrization, **{"model.width": 64, "model.depth": 2})
    for group in spec.groups():
        transforms = chain(spec, group)
        inside = [getattr(one, field) for one in transforms for field in ("eps", "graft_eps") if hasattr(one, field)]
        assert sorted(inside) == sorted(group.epsilons.values())
        if parametrization == "spectral":
            assert transforms[-1].name == ("spectral" if group.role in ("hidden", "readout") else "rms")


@EVERY_RECIPE
def test_averaged_weights_are_there_only_inside(recipe: str) -> None:
    """Schedule-free: x, with a constant schedule the plain mean of all z; else the weights as they are. Also after an error,
    and the run goes on as if nothing had been."""
    spec = tiny_spec(recipe)
    model, optimizer = model_and_optimizer(spec)
    fast = []
    for step in range(5):
        steps(spec, model, optimizer, step, step + 1)
        fast.append([optimizer.state[parameter].get(FAST, parameter).detach().clone() for parameter in model.parameters()])
    before = flat_weights(model)
    with pytest.raises(KeyError), optimizer.averaged():
        inside = flat_weights(model)
        raise KeyError
    assert torch.equal(flat_weights(model), before)
    if RECIPES.get(recipe).averages:
        mean = torch.cat([torch.stack(values).mean(0).flatten() for values in zip(*fast, strict=True)])
        torch.testing.assert_close(inside, mean, rtol=1e-5, atol=1e-6)
        assert (inside - before).norm() > 1e-3 * before.norm()
    else:
        assert torch.equal(inside, before)
    again, other = model_and_optimizer(spec)
    steps(spec, again, other, 0, 5)
    assert steps(spec, model, optimizer, 5, 7) == steps(spec, again, other, 5, 7)


@EVERY_RECIPE
def test_norms_are_kept_where_the_recipe_says_so(recipe: str) -> None:
    """Those of the matrices that it serves, at a run's own schedule; the others move freely."""
    spec = tiny_spec(recipe)
    model, optimizer = model_and_optimizer(spec)
    before = {name: parameter.detach().norm().item() for name, parameter in model.named_parameters()}
    steps(spec, model, optimizer, 0, 10)
    kept = {
        name
        for name, parameter in model.named_parameters()
        if before[name] and math.isclose(parameter.detach().norm().item(), before[name], rel_tol=1e-6)
    }
    hidden = {name for name in before if name.startswith("blocks")}
    assert kept == (hidden if RECIPES.get(recipe).keeps_norms else set())
