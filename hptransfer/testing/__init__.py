"""Conformance suites for members of the protocols, in-tree and from plugins: each raises AssertionError with one clear line."""

from hptransfer.testing.families import check_family
from hptransfer.testing.recipes import check_recipe
from hptransfer.testing.trainers import check_trainer

__all__ = ["check_family", "check_recipe", "check_trainer"]
