"""Which way of running a network is taken, and that measuring leaves no trace."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny import VOCAB, tiny_spec
from torch import nn

from hptransfer.trainers.ours import acceleration
from hptransfer.trainers.ours.acceleration import Timing, accelerate, fastest, time_candidates
from hptransfer.trainers.ours.build import build_model
from hptransfer.trainers.ours.parallel import World

CPU = torch.device("cpu")
WORLD = World.current(CPU)
SPEC = tiny_spec()


def one_pass(network: nn.Module) -> None:
    tokens = torch.randint(VOCAB, (8, 17), generator=torch.Generator().manual_seed(0))
    network(tokens[:, :-1], tokens[:, 1:]).backward()


class Machine:
    """A clock, and passes that move it on: ``eager`` seconds, or compiled ``first`` once and then ``later``."""

    def __init__(self, eager: float, first: float, later: float) -> None:
        self.now, self.passes = 0.0, 0
        self.eager, self.first, self.later = eager, first, later
        self.compiled = 0

    def clock(self) -> float:
        return self.now

    def one_pass(self, network: nn.Module) -> None:
        self.passes += 1
        if not hasattr(network, "_orig_mod"):
            self.now += self.eager
        else:
            self.now += self.later if self.compiled else self.first
            self.compiled += 1

    def run(self, cache: Path, remaining: float) -> bool:
        """Whether the network comes back compiled."""
        network = build_model(SPEC)
        result = accelerate(
            network, self.one_pass, SPEC, WORLD, remaining_seconds=remaining, cache=cache / "acceleration.json", clock=self.clock
        )
        return result is not network


def test_a_short_run_measures_nothing(tmp_path) -> None:
    machine = Machine(eager=1.0, first=1.0, later=0.1)
    assert not machine.run(tmp_path, remaining=60)
    assert machine.passes == 0


@pytest.mark.parametrize(
    ("first", "later", "remaining", "compiled"),
    [
        (20.0, 0.8, 1000, True),  # 200 of 1000 seconds saved for 20
        (20.0, 0.99, 1000, False),  # 10 saved for 20
        (20.0, 0.99, 10_000, True),
        (20.0, 1.1, 100_000, False),
    ],
)
def test_compiled_where_it_repays_its_compile_time(first, later, remaining, compiled, tmp_path) -> None:
    assert Machine(eager=1.0, first=first, later=later).run(tmp_path, remaining) is compiled


def test_timings_are_remembered_for_runs_of_any_length(tmp_path) -> None:
    machine = Machine(eager=1.0, first=20.0, later=0.97)
    assert machine.run(tmp_path, remaining=10_000)
    measured = machine.passes
    assert not machine.run(tmp_path, remaining=400)
    assert machine.run(tmp_path, remaining=10_000)
    assert machine.passes == measured > 0


def test_another_shape_is_measured_anew(tmp_path, monkeypatch) -> None:
    machine = Machine(eager=1.0, first=20.0, later=0.5)
    machine.run(tmp_path, remaining=1000)
    measured = machine.passes
    monkeypatch.setitem(globals(), "SPEC", SPEC.at(batch_sequences=4))
    machine.run(tmp_path, remaining=1000)
    assert machine.passes == 2 * measured


@pytest.mark.parametrize("text", ["", "[1]", '{"a": {"eager": {"x": 1}}}', '{"a": 3}'])
def test_a_damaged_cache_is_as_good_as_none(text: str, tmp_path) -> None:
    (tmp_path / "acceleration.json").write_text(text)
    assert Machine(eager=1.0, first=20.0, later=0.5).run(tmp_path, remaining=1000)


def test_a_compiler_that_fails_is_left_out(tmp_path) -> None:
    def failing(network: nn.Module) -> None:
        if hasattr(network, "_orig_mod"):
            raise RuntimeError("no compiler")

    network = build_model(SPEC)
    assert accelerate(network, failing, SPEC, WORLD, remaining_seconds=1e6, cache=tmp_path / "a.json") is network


def test_the_first_to_end_is_taken() -> None:
    timings = {"eager": Timing(5, 1.0), "compile": Timing(10, 0.5), "cuda_graphs": Timing(40, 0.25)}
    assert [fastest(timings, seconds) for seconds in (15, 50, 1000)] == ["eager", "compile", "cuda_graphs"]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_the_real_compiler_gives_the_same_gradients_and_measuring_leaves_no_trace(tmp_path) -> None:
    torch.compiler.reset()
    model = build_model(tiny_spec(precision="float64"))
    for weight in model.parameters():
        nn.init.normal_(weight, std=0.2, generator=torch.Generator().manual_seed(weight.numel()))
    before = [weight.detach().clone() for weight in model.parameters()]
    seconds: Callable[[], float] = acceleration.time.perf_counter
    assert set(time_candidates(model, one_pass, CPU, seconds)) == {"eager", "compile"}
    assert all(torch.equal(weight, old) for weight, old in zip(model.parameters(), before, strict=True))
    assert all(weight.grad is None for weight in model.parameters())

    def gradients(network: nn.Module) -> list[torch.Tensor]:
        model.zero_grad()
        one_pass(network)
        return [weight.grad.clone() for weight in model.parameters()]

    compiled = acceleration.candidate(model, "compile")
    torch.testing.assert_close(gradients(compiled), gradients(model), rtol=1e-9, atol=1e-12)
