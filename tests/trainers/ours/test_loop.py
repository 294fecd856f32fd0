"""Whole runs of 30 steps."""

from __future__ import annotations

import dataclasses
import io
import math
import statistics

import numpy as np
import pytest
import torch
from tiny import BATCH_TOKENS, VOCAB, tiny_corpus, tiny_spec
from torch import nn

from hptransfer.base.errors import UsageError
from hptransfer.models.model import Model
from hptransfer.optimizers import RECIPES
from hptransfer.optimizers.engine import ChainOptimizer
from hptransfer.runs import CurvePoint, Record, Store
from hptransfer.trainers.ours import checkpoint, loop
from hptransfer.trainers.ours.build import build_model, build_optimizer
from hptransfer.trainers.ours.checkpoint import Checkpoints
from hptransfer.trainers.ours.loop import train
from hptransfer.trainers.ours.points import job_of
from hptransfer.trainers.ours.spec import RunSpec
from hptransfer.trainers.ours.state import DIVERGENCE_NATS, RunState

CORPUS = tiny_corpus()
ALL_RECIPES = pytest.mark.parametrize("recipe", RECIPES.names())


class Killed(Exception):
    """Stands for whatever ends a process in mid-run."""


def interrupt(spec: RunSpec, store: Store, monkeypatch) -> None:
    """Train with a checkpoint at every step, until the first point of the curve."""

    def reporter(point: CurvePoint) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "is_due", lambda self: True)
        with pytest.raises(Killed):
            train(spec, CORPUS, store=store, reporter=reporter)


def seen_steps(monkeypatch) -> list[int]:
    """The steps whose batches the loop asks for from now on."""
    steps: list[int] = []
    plain = loop.batch

    def counting(*args, **kwargs):
        steps.append(kwargs["step"])
        return plain(*args, **kwargs)

    monkeypatch.setattr(loop, "batch", counting)
    return steps


def build() -> tuple[Model, ChainOptimizer]:
    model = build_model(tiny_spec())
    return model, build_optimizer(model, tiny_spec())


def outcome(record: Record) -> tuple:
    found = record.outcome
    return found.state, found.loss, found.curve, found.steps, found.optimizer_state_bytes


@ALL_RECIPES
def test_a_run_is_recorded_and_repeats_bitwise(recipe: str, tmp_path) -> None:
    spec, store, points = tiny_spec(recipe), Store(tmp_path), []
    record = train(spec, CORPUS, store=store, reporter=points.append)
    found = record.outcome
    assert found.state == "complete" and found.reason is None
    assert found.loss is not None and found.loss < math.log(32) - 0.5
    assert [point.step for point in found.curve] == [10, 20, 30]
    assert [point.tokens for point in found.curve] == [10 * BATCH_TOKENS, 20 * BATCH_TOKENS, 30 * BATCH_TOKENS]
    assert found.curve == tuple(points)
    assert found.loss == found.curve[-1].val
    assert record.job == job_of(spec) and record.run_id == spec.run_id
    assert (found.steps, found.tokens, found.flops) == (30, spec.tokens, spec.flops)
    assert store.get(spec.run_id) == record
    assert outcome(train(spec, CORPUS)) == outcome(record)
    assert train(spec.at(data_seed=1), CORPUS).loss != record.loss


def test_bits_per_byte() -> None:
    """Total nats over the bytes of the very tokens that were evaluated; None where those are unknown."""
    spec = tiny_spec(**{"evaluation.tokens": 10**6})
    known = train(spec, dataclasses.replace(CORPUS, token_bytes=np.arange(VOCAB, dtype=np.int32))).outcome
    targets = CORPUS.val[0][1:]
    assert known.bits_per_byte == pytest.approx(known.loss * len(targets) / math.log(2) / targets.sum(dtype=int))
    assert train(spec, CORPUS).outcome.bits_per_byte == pytest.approx(known.loss / math.log(2))
    assert train(spec, dataclasses.replace(CORPUS, token_bytes=None)).outcome.bits_per_byte is None


@ALL_RECIPES
@pytest.mark.parametrize("lr", [1e2, 1e10, 1e20])
def test_a_huge_lr_ends_as_diverged(recipe: str, lr: float, tmp_path) -> None:
    """A state with its reason and step, never an exception: not even where eigh refuses the gradient (Shampoo, SOAP at 1e20)."""
    record = train(tiny_spec(recipe, **{"optimizer.lr": lr}), CORPUS, store=Store(tmp_path))
    found = record.outcome
    assert found.state == "diverged" and found.reason
    assert found.loss is None and found.bits_per_byte is None
    assert 0 < found.steps < 30 and found.tokens == found.steps * BATCH_TOKENS
    assert found.flops == pytest.approx(record.job.flops * found.steps / 30)
    assert Store(tmp_path).get(record.run_id) == record


def test_a_run_that_ends_far_above_its_start_has_diverged(monkeypatch) -> None:
    """Also when its training losses look sound."""
    monkeypatch.setattr(loop, "validation_loss", lambda *args: (math.log(32) + DIVERGENCE_NATS + 0.01, None))
    record = train(tiny_spec(), CORPUS)
    assert record.state == "diverged" and record.loss is None and "validation loss" in record.outcome.reason


def test_the_final_value_is_taken_on_all_validation_tokens_and_the_curve_on_an_eighth(monkeypatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(loop, "validation_loss", lambda *args: asked.append(args[2]) or (2.0, None))
    train(tiny_spec(), CORPUS)
    assert asked == [128, 128, 1024]


@ALL_RECIPES
def test_a_resumed_run_ends_bitwise_as_the_straight_one(recipe: str, tmp_path, monkeypatch) -> None:
    spec, store = tiny_spec(recipe), Store(tmp_path)
    straight = train(spec, CORPUS)
    interrupt(spec, store, monkeypatch)
    assert store.get(spec.run_id) is None
    assert store.read_checkpoint(spec.run_id) is not None
    steps = seen_steps(monkeypatch)
    resumed = train(spec, CORPUS, store=store)
    assert steps == list(range(9, 30))
    assert outcome(resumed) == outcome(straight)
    assert store.read_checkpoint(spec.run_id) is None
    assert list(tmp_path.glob("checkpoints/*")) == []


def test_a_run_interrupted_again_and_again(tmp_path, monkeypatch) -> None:
    """Each time it goes on from where it was, and the curve has every point once."""
    spec, store = tiny_spec("shampoo"), Store(tmp_path)
    straight = train(spec, CORPUS)
    interrupt(spec, store, monkeypatch)
    interrupt(spec, store, monkeypatch)
    steps = seen_steps(monkeypatch)
    monkeypatch.setattr(Checkpoints, "is_due", lambda self: True)
    assert outcome(train(spec, CORPUS, store=store)) == outcome(straight)
    assert steps == list(range(9, 30))


def test_a_damaged_checkpoint_is_named_and_the_run_starts_over(tmp_path, monkeypatch, caplog) -> None:
    spec, store = tiny_spec(), Store(tmp_path)
    interrupt(spec, store, monkeypatch)
    content = store.read_checkpoint(spec.run_id)
    store.write_checkpoint(spec.run_id, content[: len(content) // 2])
    steps = seen_steps(monkeypatch)
    record = train(spec, CORPUS, store=store)
    assert f"checkpoint of run {spec.run_id} is damaged" in caplog.text
    assert steps == list(range(30))
    assert outcome(record) == outcome(train(spec, CORPUS))


def reshape(saved: dict) -> None:
    name = next(name for name, weight in saved["model"].items() if weight.ndim == 2)
    saved["model"][name] = saved["model"][name][:1]


def each_state(saved: dict, change) -> None:
    for state in saved["optimizer"]["state"].values():
        change(state)


MISFITS = {
    "shapes": reshape,
    "a missing weight": lambda saved: saved["model"].popitem(),
    "no optimizer": lambda saved: saved.pop("optimizer"),
    "another recipe": lambda saved: saved["optimizer"]["param_groups"].pop(),
    "a state that is missing": lambda saved: saved["optimizer"]["state"].pop(saved["optimizer"]["param_groups"][1]["params"][0]),
    "states of other shapes": lambda saved: each_state(saved, lambda state: state.update({key: state[key][:1] for key in state})),
    "a state that is missing of all": lambda saved: each_state(saved, dict.popitem),
    "a state of another recipe": lambda saved: each_state(saved, lambda state: state.update(other=torch.zeros(3))),
    "states that are none": lambda saved: each_state(saved, lambda state: state.update(dict.fromkeys(state, "low"))),
    "an odd step": lambda saved: saved["state"].update(step=31),
    "a negative step": lambda saved: saved["state"].update(step=-1),
    "half a step": lambda saved: saved["state"].update(step=2.5),
    "no step": lambda saved: saved["state"].pop("step"),
    "another state": lambda saved: saved["state"].update(odd=1),
    "losses that are none": lambda saved: saved["state"].update(recent=["low"]),
    "another run": lambda saved: saved.update(run_id="b" * 16),
}


@pytest.mark.parametrize("kind", MISFITS)
def test_a_checkpoint_that_does_not_fit_is_said_once_and_the_run_starts_over(tmp_path, monkeypatch, caplog, kind) -> None:
    spec, store = tiny_spec(), Store(tmp_path)
    interrupt(spec, store, monkeypatch)
    saved = torch.load(io.BytesIO(store.read_checkpoint(spec.run_id)), weights_only=True)
    MISFITS[kind](saved)
    buffer = io.BytesIO()
    torch.save(saved, buffer)
    store.write_checkpoint(spec.run_id, buffer.getvalue())
    steps = seen_steps(monkeypatch)
    record = train(spec, CORPUS, store=store)
    assert [message.endswith("; the run starts over") for message in caplog.messages] == [True]
    assert steps == list(range(30))
    assert outcome(record) == outcome(train(spec, CORPUS))


def test_checkpoints_are_due_by_the_clock(tmp_path, monkeypatch) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    checkpoints, (model, optimizer) = Checkpoints(Store(tmp_path), "a" * 16, seconds=30), build()
    now[0] = 29.0
    assert not checkpoints.is_due()
    now[0] = 31.0
    assert checkpoints.is_due()
    checkpoints.save(model, optimizer, RunState(step=5))
    assert not checkpoints.is_due() and checkpoints.load(model, optimizer, 30).step == 5
    now[0] = 99.0
    assert not Checkpoints(None, "a" * 16).is_due()


def test_a_checkpoint_in_another_format_is_named_and_not_read(tmp_path, monkeypatch, caplog) -> None:
    monkeypatch.setattr(checkpoint, "FORMAT", 0)
    Checkpoints(Store(tmp_path), "a" * 16).save(*build(), RunState(step=5))
    monkeypatch.undo()
    assert Checkpoints(Store(tmp_path), "a" * 16).load(*build(), 30) is None
    assert f"checkpoint of run {'a' * 16} has format 0, not {checkpoint.FORMAT}; the run starts over" in caplog.text


def test_a_checkpoint_with_one_wrong_bit_is_not_read(tmp_path, caplog) -> None:
    """torch.load would take it."""
    store, name = Store(tmp_path), f"checkpoints/{'a' * 16}.pt"
    Checkpoints(store, "a" * 16).save(*build(), RunState(step=5))
    content = bytearray(store.files.read(name))
    content[len(content) // 2] ^= 1
    store.files.write(name, bytes(content))
    assert Checkpoints(store, "a" * 16).load(*build(), 30) is None
    assert "is damaged (ValueError); the run starts over" in caplog.text


def test_another_corpus_is_refused() -> None:
    spec = tiny_spec().at(**{"data.sha256": "2" * 64})
    with pytest.raises(UsageError, match="sha256 1111111111111111, the run asks for 2222222222222222"):
        train(spec, CORPUS)


def clipped(largest: float | None) -> RunSpec:
    return tiny_spec(options={"clip_norm": largest})


@pytest.mark.parametrize(("largest", "share"), [(1e-6, 1.0), (1e6, 0.0), (None, None)])
def test_a_run_says_on_which_share_of_steps_it_was_clipped_and_what_that_took(largest: float | None, share: float | None) -> None:
    found = train(clipped(largest), CORPUS).outcome
    assert found.metrics.get("clipped_share") == share
    assert 0 < found.metrics["clipping_wall_seconds"] < found.training_wall_seconds


def test_the_share_of_clipped_steps_is_that_of_norms_above_the_largest(tmp_path, monkeypatch) -> None:
    """On a run that was interrupted too, of which it counts both legs."""
    norms: list[float] = []
    plain = loop.clip_gradients

    def seen(*args):
        norms.append((norm := plain(*args)).item())
        return norm

    monkeypatch.setattr(loop, "clip_gradients", seen)
    train(clipped(1e6), CORPUS)
    spec, store = clipped(largest := statistics.median(norms)), Store(tmp_path)
    norms.clear()
    straight = train(spec, CORPUS).outcome.metrics["clipped_share"]
    assert 0 < straight < 1 and straight == sum(norm > largest for norm in norms) / 30
    interrupt(spec, store, monkeypatch)
    assert train(spec, CORPUS, store=store).outcome.metrics["clipped_share"] == straight


def test_a_checkpoint_of_before_clipping_was_counted_is_read_and_no_share_is_claimed(tmp_path, monkeypatch) -> None:
    spec, store = clipped(1e-6), Store(tmp_path)
    straight, plain = train(spec, CORPUS), RunState.to_dict
    with monkeypatch.context() as patch:
        own = ("clipped", "clipping_seconds")
        patch.setattr(RunState, "to_dict", lambda self: {key: value for key, value in plain(self).items() if key not in own})
        interrupt(spec, store, monkeypatch)
    steps = seen_steps(monkeypatch)
    resumed = train(spec, CORPUS, store=store)
    assert steps == list(range(9, 30)) and outcome(resumed) == outcome(straight)
    assert not {"clipped_share", "clipping_wall_seconds"} & set(resumed.outcome.metrics)


def test_a_run_that_compiles_goes_on_as_it_was(monkeypatch) -> None:
    """What decides about it on an accelerator is asked once, with passes of a whole step that leave no trace and what is left of
    the run; what it returns is trained from then on."""
    asked: list[float] = []

    class Compiled(nn.Module):
        def __init__(self, network: nn.Module) -> None:
            super().__init__()
            self.network, self.calls = network, 0

        def forward(self, *args):
            self.calls += 1
            return self.network(*args)

    wrapped: list[Compiled] = []

    def accelerate(network, one_pass, spec, world, *, remaining_seconds):
        one_pass(network)
        network.zero_grad(set_to_none=True)
        asked.append(remaining_seconds)
        wrapped.append(Compiled(network))
        return wrapped[0]

    spec = tiny_spec("muon")
    plain = outcome(train(spec, CORPUS, accumulation=2))
    monkeypatch.setattr(loop, "accelerate", accelerate)
    monkeypatch.setattr(loop, "STEPS_BEFORE_COMPILING", 12)
    monkeypatch.setattr(loop, "may_compile", lambda device: True)
    record = train(spec, CORPUS, accumulation=2)
    assert outcome(record) == plain
    assert len(asked) == 1 and 0 < asked[0] < 60
    assert wrapped[0].calls == 2 * (30 - 12)
