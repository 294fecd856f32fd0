"""The built-in trainer: small models in plain PyTorch, alone, under Ray Tune and under Ray Train."""
