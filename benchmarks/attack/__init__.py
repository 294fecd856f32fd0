"""Wrong calls of every command, made from the schemas of what it takes: ``python -m benchmarks.attack``."""
