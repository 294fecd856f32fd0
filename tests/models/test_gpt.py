import math
from collections.abc import Callable

import pytest
import torch
from tiny import VOCAB, tiny_spec

from hptransfer.models.family import Family, Shape
from hptransfer.models.gpt.family import GPT_FAMILY, GptConfig
from hptransfer.models.gpt.functions import rotate, rotation
from hptransfer.models.gpt.model import GPT, Block
from hptransfer.models.spec import ModelSpec
from hptransfer.testing.families import FAMILY_CHECKS
from hptransfer.trainers.ours.build import build_model

VARIANTS = pytest.mark.parametrize(
    ("activation", "positions"), [("gelu", "rope"), ("relu2", "learned"), ("swiglu", "rope"), ("swiglu", "learned")]
)


def random_model(activation: str = "gelu", positions: str = "rope") -> GPT:
    """A model in which no weight is zero, so that every path carries something."""
    spec = tiny_spec(**{"model.activation": activation, "model.positions": positions, "model.depth": 2}, precision="float64")
    model = build_model(spec)
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2, generator=generator)
    return model


def tokens(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, VOCAB, shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("check", FAMILY_CHECKS, ids=lambda check: check.__name__)
@VARIANTS
def test_conformance(activation: str, positions: str, check: Callable[[Family, Shape], None]) -> None:
    config = GptConfig(
        head_dim=8,
        mlp_ratio=2.5,
        activation=activation,
        positions=positions,
        qk_norm=activation != "swiglu",
        norm_gains=positions == "rope",
        context=16,
    )
    check(GPT_FAMILY, Shape(16, 2, VOCAB, config))


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({}, "pre-norm decoder, RMSNorm without gains, QK-norm, RoPE, GELU, no biases, untied embedding and readout"),
        ({"preset": "llama"}, "RMSNorm with gains, no QK-norm, RoPE, SwiGLU,"),
        ({"preset": "paper"}, "RMSNorm without gains, QK-norm, learned positions, GELU,"),
        ({"preset": "speedrun"}, "RMSNorm without gains, QK-norm, RoPE, ReLU^2,"),
    ],
)
def test_it_describes_itself_from_its_config(keys: dict[str, str], words: str) -> None:
    spec = ModelSpec.model_validate({"width": 128, "depth": 3, "vocab": VOCAB} | keys)
    described = spec.of.describe(spec.shape)
    assert words in described["architecture"]
    assert ("norm gains" in described["init"]) == spec.config.norm_gains
    assert ("position" in described["init"]) == (spec.config.positions == "learned")
    assert described["mlp_width"] == spec.config.hidden_width(128)


def test_parameter_conventions() -> None:
    spec = ModelSpec(width=24, depth=3, head_dim=8, mlp_ratio=2, context=16, vocab=40)
    hidden = 3 * (4 * 24 * 24 + 2 * 24 * 48)
    assert spec.parameters("non_embedding") == hidden
    assert spec.parameters("matrices_and_readout") == hidden + 24 * 40
    assert spec.parameters("all") == hidden + 2 * 24 * 40


@pytest.mark.parametrize("width", [64, 128])
def test_initialisation(width: int) -> None:
    """Embeddings .1 at every width, q k v and the MLP's input 1/sqrt(d_in), what ends a branch and the readout zero, gains 1."""
    shape = {"width": width, "positions": "learned", "activation": "swiglu", "norm_gains": True, "context": 64}
    spec = tiny_spec(**{f"model.{name}": value for name, value in shape.items()})
    for name, weight in build_model(spec).named_parameters():
        if GPT_FAMILY.kind(name) == "vector":
            assert torch.equal(weight, torch.ones(width))
            continue
        if name in ("embedding.weight", "position.weight"):
            wanted = 0.1
        elif "output" in name or name == "readout.weight":
            wanted = 0.0
        else:
            wanted = width**-0.5
        assert weight.std().item() == pytest.approx(wanted, rel=5 / math.sqrt(2 * weight.numel())), name
        assert abs(weight.mean().item()) <= 5 * wanted / math.sqrt(weight.numel()), name


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_loss_starts_at_ln_vocab(precision: str) -> None:
    """The readout is zero, so all tokens are equally likely."""
    model = build_model(tiny_spec(precision=precision))
    batch = tokens(4, 17)
    assert model(batch[:, :-1], batch[:, 1:]).item() == pytest.approx(
        math.log(VOCAB), rel=1e-6 if precision == "float32" else 1e-14
    )


@pytest.mark.parametrize("positions", ["rope", "learned"])
def test_the_order_of_earlier_tokens_matters(positions: str) -> None:
    """In one layer only the positions can tell the order of what the last token attends to."""
    model = random_model(positions=positions)
    model.blocks = model.blocks[:1]
    one = tokens(1, 16)
    swapped = one[:, [1, 0, *range(2, 16)]]
    assert one[0, 0] != one[0, 1]
    assert (model(one) - model(swapped))[:, -1].abs().max() > 1e-4


def test_a_shorter_context_gives_the_same_logits() -> None:
    model = random_model()
    batch = tokens(2, 16)
    torch.testing.assert_close(model(batch[:, :7]), model(batch)[:, :7], rtol=1e-12, atol=1e-12)


def test_hidden_width_is_the_nearest_multiple_of_8() -> None:
    def hidden(width: int, ratio: float) -> int:
        return GptConfig(mlp_ratio=ratio).hidden_width(width)

    assert [hidden(width, 8 / 3) for width in (64, 192, 512, 4096)] == [168, 512, 1368, 10920]
    assert hidden(24, 4) == 96 and hidden(8, 0.25) == 8


def test_rope_depends_on_the_distance_alone() -> None:
    """q_i . k_j is the same at (i, j) and (i + 5, j + 5), and differs at another distance; lengths are kept."""
    spec = tiny_spec(**{"model.context": 32}).model
    cos, sin = rotation(spec.context, spec.config.head_dim)
    generator = torch.Generator().manual_seed(0)
    q, k = (torch.randn(spec.config.head_dim, generator=generator, dtype=torch.float64).expand(1, 32, 1, -1) for _ in "qk")
    rotated_q, rotated_k = (rotate(x, cos, sin)[0, :, 0] for x in (q, k))
    product = rotated_q @ rotated_k.T
    torch.testing.assert_close(product[5:, 5:], product[:-5, :-5], rtol=0, atol=1e-12)
    assert (product[5:, :-5] - product[:-5, :-5]).abs().max() > 0.1
    torch.testing.assert_close(rotated_q.norm(dim=-1), q[0, :, 0].norm(dim=-1), rtol=1e-6, atol=0)
    torch.testing.assert_close(rotated_q[0], q[0, 0, 0])


def test_residual_multiplier() -> None:
    """Base depth over depth under muP, 1 under sp, on both branches of every block."""
    spec = tiny_spec(**{"model.depth": 4, "base.depth": 2})
    assert {block.residual_multiplier for block in build_model(spec).blocks} == {0.5}
    assert {block.residual_multiplier for block in build_model(spec.at(parametrization="sp")).blocks} == {1.0}


@pytest.mark.parametrize("silent", ["attention", "mlp"])
def test_a_branch_is_added_times_the_multiplier(silent: str) -> None:
    spec = tiny_spec().model
    one, half = Block(spec.shape, 1.0), Block(spec.shape, 0.5)
    torch.nn.init.zeros_(getattr(one, silent).output.weight)
    half.load_state_dict(one.state_dict())
    x = torch.randn(2, 4, 16, generator=torch.Generator().manual_seed(0))
    tables = tuple(table[:4] for table in rotation(spec.context, spec.config.head_dim))
    added = one(x, tables) - x
    assert added.abs().max() > 1e-2
    torch.testing.assert_close(half(x, tables) - x, added / 2)


@pytest.mark.parametrize(
    ("width", "parameters", "forward"),
    [
        (512, 185_680_896, 387_793_920),
        (768, 379_184_640, 783_017_472),
        (1024, 639_797_248, 1_312_458_752),
        (1536, 1_362_349_056, 2_773_994_496),
    ],
)
def test_size_and_flops_of_the_papers_models(width: int, parameters: int, forward: int) -> None:
    """arXiv 2512.05620 table 3: SwiGLU with ratio 4, 32 layers, context 1024, GPT-2's vocabulary."""
    spec = ModelSpec(width=width, depth=32, head_dim=64, mlp_ratio=4, activation="swiglu", context=1024, vocab=50257)
    assert spec.parameters() == parameters
    assert spec.flops_per_token == 3 * forward
