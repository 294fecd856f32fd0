"""The LSTM family: a plain stack of layers as wide as the embedding, no norms, untied zero readout. No torch here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hptransfer.models.family import Family, FamilyConfig, Shape, Weight

if TYPE_CHECKING:
    from hptransfer.models.lstm.model import LSTM

GATES = ("input", "forget", "cell", "output")

LstmShape = Shape[FamilyConfig]


class LstmFamily(Family[FamilyConfig]):
    """Stacks of LSTM layers (Hochreiter & Schmidhuber 1997; forget gate of Gers et al. 2000), without peepholes.

    As in the comparison with Transformers of arXiv 2511.21622, which has one or two layers, without its dropout; there the
    embedding and the readout are tied and the state goes on from one sequence to the next, here a sequence starts from zero.
    """

    name = "lstm"
    config = FamilyConfig
    residual = False

    def weights(self, shape: LstmShape) -> tuple[Weight, ...]:
        w, gates = shape.width, len(GATES) * shape.depth
        return (
            Weight("embedding", "embedding", shape.vocab, w, 1),
            Weight("input", "hidden", w, w, gates),
            Weight("recurrent", "hidden", w, w, gates),
            Weight("readout", "readout", w, shape.vocab, 1),
            Weight("vector", "vector", 1, w, gates),
        )

    def kind(self, parameter: str) -> str:
        module = parameter.removeprefix("module.").split(".")
        if module[0] != "layers":
            return module[0]
        return "vector" if module[2] == "bias" else module[2]

    def flops_per_token(self, shape: LstmShape) -> float:
        """3 x forward; matrix products alone."""
        return 6.0 * sum(weight.size for weight in self.weights(shape) if weight.role in ("hidden", "readout"))

    def summary(self, config: FamilyConfig) -> str:
        return "LSTM layers"

    def describe(self, shape: LstmShape) -> dict[str, Any]:
        return {
            "architecture": "stack of LSTM layers, no residual connections, no norms, no peepholes, one bias per gate, untied "
            "embedding and readout, a matrix per gate, every sequence from a state of zeros",
            "init": {
                "embedding": "normal, std 1",
                "gates, from the layer's input and from its state": "normal, std 1/sqrt(d_in)",
                "bias of the forget gate": "one",
                "other biases": "zero",
                "readout": "zero",
            },
        }

    def build(self, shape: LstmShape, residual_multiplier: float = 1.0) -> LSTM:
        """``residual_multiplier`` multiplies nothing: there are no branches."""
        from hptransfer.models.lstm.model import LSTM

        return LSTM(shape)


LSTM_FAMILY = LstmFamily()
