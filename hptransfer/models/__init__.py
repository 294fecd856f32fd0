"""Model families, and the shape ratios that muP needs from them."""

from hptransfer.models.gpt import GPT
from hptransfer.models.shapes import build_model

__all__ = ["GPT", "build_model"]
