"""Model families: what each has at a width, and how it is built."""

from hptransfer.base.plugins import Registry
from hptransfer.models.family import AnyFamily

FAMILIES: Registry[AnyFamily] = Registry(
    "model family",
    {"gpt": "hptransfer.models.gpt.family:GPT_FAMILY", "lstm": "hptransfer.models.lstm.family:LSTM_FAMILY"},
)

__all__ = ["FAMILIES"]
