"""The check of a model that a function of yours builds: its roles, rules and activations are found in it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hptransfer.base.errors import UsageError
from hptransfer.coordcheck.check import Activation, Run
from hptransfer.coordcheck.measure import Batches, follow, in_processes
from hptransfer.experiment.settings import DataSpec
from hptransfer.modules.table import without_numbers
from hptransfer.modules.width import ModelFn, WidthRules, readout_layer, root_mean_square
from hptransfer.trainers.ours.data.corpus import Corpus, open_corpus

OFF = 1.25  # a factor that initial values may be off by: what two draws of a small matrix differ by is less


@dataclass(frozen=True)
class OwnRun:
    """A run of your model. ``as_built``: its initial values and its readout are left as the function makes them."""

    model_fn: ModelFn
    rules: WidthRules
    seed: int
    lr: float
    embedding_lr_ratio: float
    as_built: bool
    data: DataSpec
    sequences: int
    context: int

    def built(self) -> nn.Module:
        """The model as the function makes it, in evaluation mode, so that dropout does not count as movement."""
        torch.manual_seed(self.seed)
        return self.model_fn(self.rules.target).eval()


def measure_own(runs: Sequence[OwnRun], steps: Collection[int]) -> Iterator[Run]:
    """The runs, see `hptransfer.coordcheck.measure.in_processes`."""
    return in_processes(_measure, sorted(runs, key=lambda run: -run.rules.target), steps)


def measure_own_run(run: OwnRun, corpus: Corpus, steps: Collection[int]) -> Run:
    """One of them."""
    model = run.built()
    if not run.as_built:
        run.rules.initialize(model)
    batch_tokens = run.sequences * run.context
    optimizer = run.rules.optimizer(model, lr=run.lr, embedding_lr_ratio=run.embedding_lr_ratio, batch_tokens=batch_tokens)
    listener = _Listener(model, run.rules.overrides)
    if (rows := listener.embedding.num_embeddings) < corpus.spec.vocab:
        raise UsageError(
            f"the model knows {rows} tokens, corpus {corpus.spec.corpus} has {corpus.spec.vocab}; see --set data.vocab"
        )
    return follow(
        Run(run.rules.target, run.seed, {}),
        steps,
        Batches(corpus, run.seed, run.sequences, run.context),
        listener.activations,
        lambda tokens, targets: F.cross_entropy(logits_of(model, tokens).flatten(0, 1).float(), targets.flatten()),
        optimizer,
        clip_norm=run.rules.options.clip_norm,
    )


def lacking(run: OwnRun) -> tuple[str, ...]:
    """Which of its parameters have no rule, or do not start by theirs, and what no parameter shows: where a failed check may come
    from."""
    rules = run.rules
    if rules.parametrization == "sp":
        names = dict.fromkeys(
            " = ".join(map(without_numbers, rule.names))
            for rule in rules.parameters
            if rule.ratios.d_in > 1 or (len(rule.names) > 1 and rules.base < rules.target)
        )
        return (f"without a rule under sp: {', '.join(names)}",) if names else ()
    said = list(rules.unset)
    if run.as_built:
        if rules.logit_multiplier != 1:
            said.append(f"the tied readout's input is to be multiplied by {rules.logit_multiplier:g}")
        model, off = run.built(), dict[str, str]()
        for rule in rules.parameters:
            rms = root_mean_square(model.get_parameter(rule.names[0]))
            if rule.init_rms and rms and not 1 / OFF < rms / rule.init_rms < OFF:
                off[without_numbers(rule.names[0])] = f"initial RMS {rms:.2g}, by the rule {rule.init_rms:.2g}"
        said += [f"{name}: {one}" for name, one in off.items()]
    return tuple(said)


def logits_of(model: nn.Module, tokens: Tensor) -> Tensor:
    """The logits (batch, context, vocab) of tokens (batch, context), whether the model returns them, or first of several things,
    or as transformers' models do. Raises UsageError, one line."""
    found: Any = model(tokens)
    if isinstance(found, tuple):
        found = found[0]
    elif not isinstance(found, Tensor):
        found = getattr(found, "logits", found)
    if not isinstance(found, Tensor) or found.shape[:2] != tokens.shape or found.dim() != 3:
        said = f"a tensor of shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
        raise UsageError(f"of tokens {tuple(tokens.shape)} the model gives {said}, not logits (batch, context, vocabulary)")
    return found


class _Listener:
    """Hears the output of the largest embedding, the input of the readout, and the logits."""

    def __init__(self, model: nn.Module, overrides: Mapping[str, str]) -> None:
        embeddings = [module for module in model.modules() if isinstance(module, nn.Embedding)]
        readout = readout_layer(model, overrides)
        if not embeddings or readout is None:
            what = "torch.nn.Embedding" if not embeddings else "readout; name its weight with --role REGEX=readout"
            raise UsageError(f"the model has no {what}")
        self.embedding = max(embeddings, key=lambda module: module.num_embeddings)
        self._model, self._readout = model, readout

    @torch.no_grad()
    def activations(self, tokens: Tensor) -> dict[Activation, Tensor]:
        """Of these tokens; float32."""
        seen: dict[Activation, Tensor] = {}

        def embedded(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            seen["embedding"] = output.float()

        def read(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            seen["hidden"] = inputs[0].float()

        with ExitStack() as hooks:
            hooks.callback(self.embedding.register_forward_hook(embedded).remove)
            # First of its hooks: a tied readout's input is multiplied in another.
            hooks.callback(self._readout.register_forward_pre_hook(read, prepend=True).remove)
            seen["readout"] = logits_of(self._model, tokens).float()
        return seen


def _measure(run: OwnRun, steps: Collection[int]) -> Run:
    return measure_own_run(run, open_corpus(run.data), steps)
