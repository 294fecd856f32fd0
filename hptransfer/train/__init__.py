"""One training loop, plain PyTorch: it runs under Tune, under Train and by itself."""

from hptransfer.train.loop import train

__all__ = ["train"]
