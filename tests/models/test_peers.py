"""The `llama` preset is Llama: the same weights give the logits, loss and gradients of transformers' LlamaForCausalLM."""

from __future__ import annotations

import sys

import pytest
import torch
from tiny import tiny_spec

from hptransfer.experiment.model import ModelChoice
from hptransfer.models.model import Model
from hptransfer.trainers.ours.build import build_model
from hptransfer.trainers.ours.spec import RunSpec

NAMES = {
    "embedding": "model.embed_tokens",
    "norm": "model.norm",
    "readout": "lm_head",
    "attention_norm": "input_layernorm",
    "attention.query": "self_attn.q_proj",
    "attention.key": "self_attn.k_proj",
    "attention.value": "self_attn.v_proj",
    "attention.output": "self_attn.o_proj",
    "mlp_norm": "post_attention_layernorm",
    "mlp.gate": "mlp.gate_proj",
    "mlp.input": "mlp.up_proj",
    "mlp.output": "mlp.down_proj",
}


def theirs(name: str) -> str:
    """The name of a parameter there."""
    module = name.removesuffix(".weight")
    if not module.startswith("blocks."):
        return f"{NAMES[module]}.weight"
    _, layer, rest = module.split(".", 2)
    return f"model.layers.{layer}.{NAMES[rest]}.weight"


def llama_spec() -> RunSpec:
    chosen = ModelChoice.model_validate({"preset": "llama", "depth": 2, "head_dim": 16, "context": 80})
    changes = {f"model.{name}": value for name, value in chosen.model_dump().items()}
    return tiny_spec(**changes, **{"model.width": 64, "base.width": 64, "base.depth": 2})


def drawn(spec: RunSpec) -> Model:
    """No weight is zero or one, so that every path carries something."""
    model, generator = build_model(spec), torch.Generator().manual_seed(1)
    for weight in model.parameters():
        torch.nn.init.normal_(weight, mean=float(weight.dim() == 1), std=0.2, generator=generator)
    return model


def test_llama_is_llama(monkeypatch) -> None:
    # mup brings a torchvision that need not match torch; transformers would import it.
    monkeypatch.setitem(sys.modules, "torchvision", None)
    transformers = pytest.importorskip("transformers")
    monkeypatch.setattr(transformers.utils, "is_torchvision_available", lambda: False)  # it may have looked before
    from transformers import LlamaConfig, LlamaForCausalLM

    spec = llama_spec()
    shape, ours = spec.model, drawn(spec)
    config = LlamaConfig(
        vocab_size=shape.vocab,
        hidden_size=shape.width,
        intermediate_size=shape.config.hidden_width(shape.width),
        num_hidden_layers=shape.depth,
        num_attention_heads=shape.width // shape.config.head_dim,
        max_position_embeddings=shape.context,
        rms_norm_eps=torch.finfo(torch.float32).eps,
        tie_word_embeddings=False,
    )
    llama = LlamaForCausalLM(config)
    weights = {theirs(name): weight.detach() for name, weight in ours.named_parameters()}
    llama.load_state_dict(weights, strict=True)
    assert sum(weight.numel() for weight in llama.parameters()) == shape.parameters()

    tokens = torch.randint(shape.vocab, (2, shape.context), generator=torch.Generator().manual_seed(0))
    output = llama(input_ids=tokens, labels=tokens)
    torch.testing.assert_close(ours(tokens), output.logits, rtol=1e-5, atol=1e-5)
    targets = torch.nn.functional.pad(tokens[:, 1:], (0, 1), value=-100)
    loss = ours(tokens, targets)
    assert loss.item() == pytest.approx(output.loss.item(), rel=1e-5)
    loss.backward()
    output.loss.backward()
    gradients = {name: weight.grad for name, weight in llama.named_parameters()}
    for name, weight in ours.named_parameters():
        torch.testing.assert_close(weight.grad, gradients[theirs(name)], rtol=1e-4, atol=1e-5)
