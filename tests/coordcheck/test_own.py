"""The check of a model that a function builds: transformers' Llama and GPT-2 as the documents have them, and bare modules."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from hptransfer import cli, width_rules
from hptransfer.base.errors import UsageError
from hptransfer.base.plugins import plugin_function
from hptransfer.coordcheck.check import CheckResult, Run, check
from hptransfer.coordcheck.own import OwnRun, lacking, logits_of, measure_own_run
from hptransfer.experiment import DataChoice
from hptransfer.trainers.ours.data.corpus import load_corpus

EXAMPLE = Path(__file__).parents[2] / "docs/examples/own_model.py"
LRS = {"adamw": (0.002, 16), "muon": (0.01, 4)}  # a quarter of the search spaces' centres


@pytest.fixture
def transformers(monkeypatch):
    # mup brings a torchvision that need not match torch; transformers would import it.
    monkeypatch.setitem(sys.modules, "torchvision", None)
    found = pytest.importorskip("transformers")
    monkeypatch.setattr(found.utils, "is_torchvision_available", lambda: False)  # it may have looked before
    return found


def run_of(model_fn, width: int, optimizer: str = "adamw", parametrization: str = "mup", *, base=64, seed=0, as_built=False):
    lr, ratio = LRS[optimizer]
    rules = width_rules(model_fn, base, width, optimizer, parametrization=parametrization, zero_readout=not as_built)
    data = load_corpus(DataChoice()).spec
    return OwnRun(model_fn, rules, seed, lr, ratio, as_built, data, sequences=4, context=64)


def checked(
    model_fn, optimizer: str, parametrization: str, *, steps: list[int], seeds: int, as_built: bool = False
) -> CheckResult:
    corpus = load_corpus(DataChoice())
    runs = [
        run_of(model_fn, width, optimizer, parametrization, seed=seed, as_built=as_built)
        for width in (64, 128, 256)
        for seed in range(seeds)
    ]
    return check([measure_own_run(run, corpus, steps) for run in runs], steps)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_transformers_models_pass_under_mup_and_fail_under_sp(transformers, name: str, optimizer: str) -> None:
    """Llama with grouped queries; GPT-2 with a tied readout and weights that are kept (d_in, d_out)."""
    model_fn = plugin_function(f"{EXAMPLE}:{name}")
    passes = checked(model_fn, optimizer, "mup", steps=[3], seeds=3)
    assert passes.passed, passes.verdict
    fails = checked(model_fn, optimizer, "sp", steps=[3], seeds=2)
    assert any(line.activation == "readout" and line.fails and line.slope > 0 for line in fails.lines), fails.verdict


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_they_do_so_over_all_judged_steps(transformers, name: str, optimizer: str) -> None:
    model_fn = plugin_function(f"{EXAMPLE}:{name}")
    results = {kind: checked(model_fn, optimizer, kind, steps=[3, 10], seeds=5) for kind in ("mup", "sp")}
    assert (results["mup"].passed, results["sp"].passed) == (True, False), results["mup"].verdict


def test_a_model_that_is_left_as_it_is_built_fails_and_says_what_it_lacks(transformers) -> None:
    model_fn = plugin_function(f"{EXAMPLE}:gpt2")
    assert not checked(model_fn, "muon", "mup", steps=[3], seeds=1, as_built=True).passed
    said = "; ".join(lacking(run_of(model_fn, 256, as_built=True)))
    assert "the tied readout's input is to be multiplied by 0.25" in said
    assert "transformer.h.*.attn.c_attn.weight: initial RMS 0.02, by the rule 0.01" in said
    assert "transformer.wpe.weight" not in said
    under_sp = lacking(run_of(model_fn, 256, parametrization="sp"))
    assert "transformer.wte.weight = lm_head.weight" in under_sp[0] and "transformer.h.*.mlp.c_fc.weight" in under_sp[0]
    assert lacking(run_of(model_fn, 256)) == ()


def test_heads_that_grow_and_heads_that_are_fewer(transformers) -> None:
    def growing(width: int) -> nn.Module:
        config = transformers.GPT2Config(vocab_size=256, n_positions=64, n_embd=width, n_layer=1, n_head=4)
        return transformers.GPT2LMHeadModel(config)

    (unset,) = width_rules(growing, 64, 256).unset
    assert "the head dimension grows from 16 to 64" in unset and unset.endswith(" by 0.5")
    rules = width_rules(plugin_function(f"{EXAMPLE}:llama"), 64, 256)
    assert rules.unset == ()
    found = {rule.names[0]: rule for rule in rules.parameters}["model.layers.0.self_attn.k_proj.weight"]
    assert (found.base, found.target, found.lr) == ((32, 64), (128, 256), 0.25)


@pytest.mark.parametrize("name", ["Mixtral", "Qwen3Moe"])
def test_a_mixture_of_experts_is_refused_by_name(transformers, name: str) -> None:
    config, model = getattr(transformers, f"{name}Config"), getattr(transformers, f"{name}ForCausalLM")

    def build(width: int) -> nn.Module:
        sizes = {"hidden_size": width, "intermediate_size": width, "num_hidden_layers": 1, "num_attention_heads": 2}
        experts = {"num_local_experts": 2} if name == "Mixtral" else {"num_experts": 2, "moe_intermediate_size": width}
        return model(config(vocab_size=64, num_key_value_heads=2, head_dim=16, **sizes, **experts))

    with pytest.raises(UsageError, match=r"layers\.0\.mlp\..*the router and the experts of a mixture have no role yet"):
        width_rules(build, 32, 64)


class Bare(nn.Module):
    """Logits of tokens, with as many random zeros as a dropout gives."""

    def __init__(self, width: int, vocab: int = 256) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocab, width)
        self.drop = nn.Dropout(0.5)
        self.hidden = nn.Linear(width, width, bias=False)
        self.norm = nn.LayerNorm(width)
        self.lm_head = nn.Linear(width, vocab, bias=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.embed(tokens)
        return self.lm_head(self.norm(x + self.hidden(self.drop(x))))


def test_movement_is_of_weights_and_not_of_dropout() -> None:
    """The first step moves nothing but the zero readout; what is heard is the embedding's output and the readout's input."""
    run = measure_own_run(run_of(Bare, 64), load_corpus(DataChoice()), [1, 2])
    assert [run.rms[name, 1] for name in ("embedding", "hidden")] == [0, 0]
    assert run.rms["readout", 1] > 0
    assert all(run.rms[name, 2] > 0 for name in ("embedding", "hidden", "readout"))


def test_logits_in_every_form() -> None:
    tokens, logits = torch.zeros(2, 3, dtype=torch.long), torch.rand(2, 3, 5)

    class Gives(nn.Module):
        def __init__(self, what) -> None:
            super().__init__()
            self.what = what

        def forward(self, tokens):
            return self.what

    class Output:
        pass

    output = Output()
    output.logits = logits
    for form in (logits, (logits, None), output):
        assert logits_of(Gives(form), tokens) is logits
    for form in (torch.rand(2, 5), None, {"logits": 1}):
        with pytest.raises(UsageError, match=r"not logits \(batch, context, vocabulary\)"):
            logits_of(Gives(form), tokens)


def test_a_vocabulary_smaller_than_the_corpus_is_refused() -> None:
    with pytest.raises(UsageError, match="the model knows 64 tokens, corpus stdlib has 256"):
        measure_own_run(run_of(lambda width: Bare(width, vocab=64), 64), load_corpus(DataChoice()), [3])


@pytest.fixture
def asked(tmp_path, monkeypatch) -> list:
    """A folder with a file of models; the runs that were asked for, all of which move as the width does under sp alone."""
    found = []

    def measure(runs, steps):
        found.extend(runs)
        for run in runs:
            moved = run.rules.target if run.rules.parametrization == "sp" else 1.0
            activations = ("embedding", "hidden", "readout")
            yield Run(run.rules.target, run.seed, {(name, step): moved for name in activations for step in steps})

    monkeypatch.setattr("hptransfer.coordcheck.own.measure_own", measure)
    monkeypatch.chdir(tmp_path)
    source = "from torch import nn\n\nclass Bare(nn.Sequential):\n    def __init__(self, width):\n"
    source += "        super().__init__(nn.Embedding(256, width), nn.Linear(width, width), nn.Linear(width, 256))\n"
    (tmp_path / "mine.py").write_text(source + "\nthree = 3\n")
    return found


def run(capsys, *argv: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["coordcheck", *argv])
    printed = capsys.readouterr()
    return stopped.value.code, printed.out, printed.err


def test_the_command_checks_a_function_s_model(asked, capsys) -> None:
    argv = ("--model", "mine.py:Bare", "--optimizer", "muon", "--widths", "64", "32", "128", "--seeds", "2", "--json")
    code, out, err = run(capsys, *argv)
    assert code == 0
    assert [(one.rules.base, one.rules.target, one.seed) for one in asked] == [
        (32, width, seed) for width in (128, 64, 32) for seed in range(2)
    ]
    assert {(round(one.lr, 9), one.embedding_lr_ratio, one.as_built) for one in asked} == {(0.01, 4, False)}
    found = json.loads(out)
    assert (found["passed"], found["base_width"], found["model"]["function"]) == (True, 32, "mine.py:Bare")
    assert "1.weight" in err and "x 4" in err  # the table of rules
    assert Path("reports/coordcheck/mine-muon.svg").read_text().startswith("<svg")


def test_a_failed_check_names_the_parameters_without_a_rule(asked, capsys) -> None:
    argv = ("--model", "mine.py:Bare", "--optimizer", "adamw", "--parametrization", "sp", "--widths", "32", "64", "--json")
    code, out, _ = run(capsys, *argv, "--role", r"^2\.weight=hidden", "--lr", "0.1")
    verdict = json.loads(out)["verdict"]
    assert code == 1
    assert "readout at t = 3, +1.000" in verdict
    assert verdict.endswith("without a rule under sp: 1.weight, 2.weight")
    assert {one.lr for one in asked} == {0.1}
    assert {rule.role for rule in asked[0].rules.parameters if rule.names == ("2.weight",)} == {"hidden"}


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--model", "mine.py"], "'mine.py' is not of the form file.py:function"),
        (["--model", "nowhere.py:Bare"], "nowhere.py: no such file"),
        (["--model", "mine.py:bear"], "mine.py has no function 'bear'"),
        (["--model", "mine.py:three"], "mine.py has no function 'three'"),
        (["--model", "mine.py:Bare", "--role", "hidden"], "--role 'hidden' is not of the form REGEX=ROLE"),
        (["--model", "mine.py:Bare", "--role", "(=hidden"], "--role '(=hidden': "),
        (["--model", "mine.py:Bare", "--role", "nothing=hidden"], "override 'nothing' matches no parameter"),
        (["--as-built"], "--as-built is of a model of yours: name it with --model"),
        (["--role", "a=hidden"], "--role is of a model of yours: name it with --model"),
    ],
)
def test_a_mistake_is_one_line(asked, capsys, argv: list[str], says: str) -> None:
    code, out, err = run(capsys, "--optimizer", "adamw", *argv)
    assert (code, out) == (2, "")
    assert len(err.strip().splitlines()) == 1
    assert says in err
