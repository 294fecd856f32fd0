"""Tune learning rate and weight decay at small width, know them at large width."""

__version__ = "0.1.0"
