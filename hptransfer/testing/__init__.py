"""Conformance suites for members of the protocols, in-tree and from plugins: each raises AssertionError with one clear line."""

from hptransfer.testing.families import check_family
from hptransfer.testing.recipes import check_recipe

__all__ = ["check_family", "check_recipe"]
