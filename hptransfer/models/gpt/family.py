"""The decoder family: pre-norm RMSNorm, no biases, untied zero readout, fixed head dimension. No torch here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, model_validator

from hptransfer.models.family import Family, FamilyConfig, Shape, Weight

if TYPE_CHECKING:
    from hptransfer.models.gpt.model import GPT


class GptConfig(FamilyConfig):
    """What a decoder is besides width, depth and vocabulary. A layer is two residual blocks, attention and MLP."""

    head_dim: int = Field(64, gt=0)
    mlp_ratio: float = Field(4.0, gt=0)
    activation: Literal["gelu", "relu2", "swiglu"] = "gelu"
    positions: Literal["rope", "learned"] = "rope"
    qk_norm: bool = Field(True, description="RMSNorm of each head's queries and keys, never with gains")
    norm_gains: bool = Field(False, description="RMSNorm has gains, of the role vector")

    @model_validator(mode="after")
    def _pairs_rotate(self) -> Self:
        if self.head_dim % 2 and self.positions == "rope":
            raise ValueError(f"head_dim {self.head_dim} is odd; rope rotates pairs")
        return self

    def hidden_width(self, width: int) -> int:
        """Width of the MLP's hidden layer: the nearest multiple of 8, which is what a GPU's matrix units take."""
        return 8 * max(1, round(width * self.mlp_ratio / 8))


GptShape = Shape[GptConfig]


class GptFamily(Family[GptConfig]):
    """Decoders.

    Presets: ``paper`` is family A of arXiv 2512.05620 (its section 4 table), ``llama`` has the blocks of Llama 2 (arXiv
    2307.09288), ``speedrun`` those of modded-nanogpt's record of 14 October 2024, untied.
    """

    name = "gpt"
    config = GptConfig
    presets = {
        "paper": {"depth": 3, "head_dim": 64, "mlp_ratio": 1.0, "positions": "learned", "context": 128},
        "llama": {"head_dim": 64, "mlp_ratio": 8 / 3, "activation": "swiglu", "qk_norm": False, "norm_gains": True},
        "speedrun": {"head_dim": 128, "mlp_ratio": 4.0, "activation": "relu2"},
    }

    def check(self, width: int, config: GptConfig) -> None:
        if width % config.head_dim:
            raise ValueError(f"width {width} is not a multiple of head_dim {config.head_dim}")

    def weights(self, shape: GptShape) -> tuple[Weight, ...]:
        config, w, n = shape.config, shape.width, shape.depth
        h = config.hidden_width(w)
        kinds = [
            Weight("embedding", "embedding", shape.vocab, w, 1),
            Weight("attention", "hidden", w, w, 4 * n),
            Weight("mlp_in", "hidden", w, h, n * (2 if config.activation == "swiglu" else 1)),
            Weight("mlp_out", "hidden", h, w, n),
            Weight("readout", "readout", w, shape.vocab, 1),
            Weight("vector", "vector", 1, w, 2 * n + 1 if config.norm_gains else 0),
        ]
        if config.positions == "learned":
            kinds.insert(1, Weight("position", "embedding", config.context, w, 1))
        return tuple(kinds)

    def kind(self, parameter: str) -> str:
        if parameter.endswith("norm.weight"):
            return "vector"
        module = parameter.removeprefix("module.").split(".")
        if module[0] != "blocks":
            return module[0]
        if module[2] == "attention":
            return "attention"
        return "mlp_out" if module[3] == "output" else "mlp_in"

    def flops_per_token(self, shape: GptShape) -> float:
        """3 x forward; full attention, as in arXiv 2512.05620 table 3."""
        matmuls = 2 * sum(weight.size for weight in self.weights(shape) if weight.role in ("hidden", "readout"))
        context, heads = shape.config.context, shape.width // shape.config.head_dim
        attention = shape.depth * (4 * context * shape.width + 3 * context * heads)
        return 3.0 * (matmuls + attention)

    def summary(self, config: GptConfig) -> str:
        return f"head dimension {config.head_dim}, MLP ratio {config.mlp_ratio:.4g}"

    def describe(self, shape: GptShape) -> dict[str, Any]:
        config = shape.config
        gated, learned = config.activation == "swiglu", config.positions == "learned"
        words = [
            "pre-norm decoder",
            f"RMSNorm {'with' if config.norm_gains else 'without'} gains",
            "QK-norm" if config.qk_norm else "no QK-norm",
            "learned positions" if learned else "RoPE",
            {"gelu": "GELU", "relu2": "ReLU^2", "swiglu": "SwiGLU"}[config.activation],
            "no biases",
            "untied embedding and readout",
            "query, key and value apart",
        ]
        init = {
            "embedding": "normal, std 0.1",
            "attention query, key, value": "normal, std 1/sqrt(d_in)",
            "attention output": "zero",
            "MLP input and gate" if gated else "MLP input": "normal, std 1/sqrt(d_in)",
            "MLP output": "zero",
            "readout": "zero",
        }
        init |= {"position": "normal, std 0.1"} if learned else {}
        init |= {"norm gains": "one"} if config.norm_gains else {}
        return {"mlp_width": config.hidden_width(shape.width), "architecture": ", ".join(words), "init": init}

    def build(self, shape: GptShape, residual_multiplier: float = 1.0) -> GPT:
        from hptransfer.models.gpt.model import GPT

        return GPT(shape, residual_multiplier)


GPT_FAMILY = GptFamily()
