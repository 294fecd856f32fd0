"""What every recipe must do."""

from __future__ import annotations

import io
import math

import pytest
import torch
from tiny import gradients, hidden_optimizer, tiny_corpus, tiny_spec

from hptransfer.data.batches import batch
from hptransfer.models import GPT, build_model
from hptransfer.optim import ChainOptimizer, build_optimizer, optimizer_flops
from hptransfer.optim.recipes import chain
from hptransfer.rules.recipes import RECIPES
from hptransfer.spec import RunSpec

CORPUS = tiny_corpus()
pytestmark = pytest.mark.parametrize("recipe", RECIPES)


def build(spec: RunSpec) -> tuple[GPT, ChainOptimizer]:
    model = build_model(spec)
    return model, build_optimizer(model, spec)


def steps(spec: RunSpec, model: GPT, optimizer: torch.optim.Optimizer, first: int, last: int) -> list[float]:
    losses = []
    for step in range(first, last):
        loss = model(*batch(CORPUS.train, seed=0, step=step, sequences=8, context=spec.model.context))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def weights(model: GPT) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def test_the_loss_falls_and_the_same_run_gives_the_same_bits(recipe: str) -> None:
    """From ln 32 = 3.47 towards the chain's entropy of ln 4 = 1.39."""
    spec = tiny_spec(recipe)
    losses = steps(spec, *build(spec), 0, 30)
    assert losses[0] == pytest.approx(math.log(32), rel=1e-6)
    assert sum(losses[-5:]) / 5 < losses[0] - 0.6
    assert steps(spec, *build(spec), 0, 30) == losses


def test_every_matrix_moves_as_soon_as_it_has_a_gradient(recipe: str) -> None:
    """With zero outputs the readout has its first gradient at step 1, the branches' outputs at 2, the rest at 3; the steps
    before leave everything finite, and what is preconditioned does not have to wait for its next refresh."""
    spec = tiny_spec(recipe, **{"optimizer.weight_decay": 0.0})
    model, optimizer = build(spec)
    moved_at: dict[str, int] = {}
    for step in range(5):
        before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
        steps(spec, model, optimizer, step, step + 1)
        for name, parameter in model.named_parameters():
            assert parameter.isfinite().all()
            if (parameter.detach() - before[name]).norm() > 1e-3 * spec.optimizer.lr * math.sqrt(parameter.numel()):
                moved_at.setdefault(name, step + 1)
    wanted = {name: 2 if "output" in name or name == "embedding.weight" else 3 for name in moved_at} | {"readout.weight": 1}
    assert moved_at == wanted
    assert len(moved_at) == len(list(model.parameters()))


def test_zero_gradients_move_nothing(recipe: str) -> None:
    weight = torch.randn(16, 12, generator=torch.Generator().manual_seed(0))
    before = weight.clone()
    optimizer = hidden_optimizer(tiny_spec(recipe), [weight], lr=0.1)
    for _ in range(4):
        weight.grad = torch.zeros_like(weight)
        optimizer.step()
    assert torch.equal(weight, before)
    for grad in gradients((16, 12), 3, torch.float32):  # the first gradient may come long after the first step
        weight.grad = grad
        previous = weight.clone()
        optimizer.step()
        assert 0.01 < (weight - previous).abs().max() < 1.0


def test_a_state_dict_goes_through_a_file_and_continues_bitwise(recipe: str) -> None:
    """Over a refresh of the preconditioners at step 10."""
    spec = tiny_spec(recipe)
    model, optimizer = build(spec)
    steps(spec, model, optimizer, 0, 8)
    file = io.BytesIO()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    other_model, other = build(spec.at(init_seed=9))
    other_model.load_state_dict(saved["model"])
    other.load_state_dict(saved["optimizer"])
    assert steps(spec, model, optimizer, 8, 12) == steps(spec, other_model, other, 8, 12)
    assert torch.equal(weights(model), weights(other_model))
    assert other.state_bytes() == optimizer.state_bytes()


def test_a_used_optimizer_takes_a_state_dict(recipe: str) -> None:
    """What it did before leaves no trace."""
    spec = tiny_spec(recipe)
    model, optimizer = build(spec)
    steps(spec, model, optimizer, 0, 4)
    saved = {"model": {k: v.clone() for k, v in model.state_dict().items()}, "optimizer": optimizer.state_dict()}
    file = io.BytesIO()
    torch.save(saved, file)
    straight = steps(spec, model, optimizer, 4, 7)
    file.seek(0)
    again = torch.load(file, weights_only=True)
    model.load_state_dict(again["model"])
    optimizer.load_state_dict(again["optimizer"])
    assert steps(spec, model, optimizer, 4, 7) == straight


def test_stacked_equals_one_by_one(recipe: str) -> None:
    """Same-shape matrices are stepped as one stack; each alone ends the same."""
    shapes = [(16, 16)] * 3 + [(48, 16)] * 2 + [(16, 48)]
    grads = [gradients(shape, 12, torch.float64, seed) for seed, shape in enumerate(shapes)]
    together, alone = ([torch.zeros(shape, dtype=torch.float64) for shape in shapes] for _ in range(2))
    spec = tiny_spec(recipe)
    groups = [(together, hidden_optimizer(spec, together, lr=0.1))]
    groups += [([weight], hidden_optimizer(spec, [weight], lr=0.1)) for weight in alone]
    for step in range(12):
        for weight, grad in zip(together + alone, grads + grads, strict=True):
            weight.grad = grad[step].clone()
        for _, optimizer in groups:
            optimizer.step()
    for ours, theirs in zip(together, alone, strict=True):
        assert ((ours - theirs).norm() / theirs.norm()).item() < 1e-6


def test_every_parameter_is_in_one_group_with_the_final_numbers(recipe: str) -> None:
    spec = tiny_spec(
        recipe,
        **{"model.width": 64, "model.depth": 2, "model.positions": "learned", "optimizer.embedding_lr_ratio": 3.0},
    )
    model, optimizer = build(spec)
    resolved = {group.kind: group for group in spec.groups()}
    kinds = {parameter: GPT.kind(name) for name, parameter in model.named_parameters()}
    seen = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    assert len(seen) == len(set(seen)) == len(kinds)
    for group in optimizer.param_groups:
        assert {kinds[parameter] for parameter in group["params"]} == {group["kind"]}
        wanted = resolved[group["kind"]]
        assert (group["lr"], group["weight_decay"], group["role"]) == (wanted.lr, wanted.weight_decay, wanted.role)
        epsilons = [
            transform.eps for transform in chain(spec, wanted) if transform.name != "shampoo" and hasattr(transform, "eps")
        ]
        assert epsilons == [wanted.eps]
    assert len({group["lr"] for group in optimizer.param_groups}) > 1


def test_state_bytes(recipe: str) -> None:
    """By hand at width 16: 256 numbers in each of 4 attention matrices, 1024 in the MLP's two, 512 in embedding and readout."""
    spec = tiny_spec(recipe)
    model, optimizer = build(spec)
    steps(spec, model, optimizer, 0, 1)
    hidden, others = 4 * 256 + 2 * 1024, 2 * 512
    # In 16x16 blocks each Gram factor, root or basis has as many numbers as the matrix.
    per_hidden = {"adamw": 2, "muon": 1, "shampoo": 1 + 4 + 1, "soap": 2 + 4}[recipe]
    assert optimizer.state_bytes() == 4 * (per_hidden * hidden + 2 * others)


def test_flops_are_counted_for_every_step(recipe: str) -> None:
    """AdamW's by hand; more for whatever works on matrices, in proportion to the steps."""
    spec = tiny_spec(recipe)
    adamw = 30 * 12 * spec.model.parameters()
    assert optimizer_flops(spec) == adamw if recipe == "adamw" else optimizer_flops(spec) > 2 * adamw
    assert optimizer_flops(spec.at(**{"horizon.tokens": 3 * spec.tokens})) == pytest.approx(3 * optimizer_flops(spec))
