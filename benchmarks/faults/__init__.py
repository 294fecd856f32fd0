"""Faults injected into searches, and what came of them: ``python -m benchmarks.faults``."""
