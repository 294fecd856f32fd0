"""Runs, FLOPs, hours and expected regret, before anything is spent."""
