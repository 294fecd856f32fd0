"""The search: studies of small runs under Ray Tune, proposals by Optuna, everything remembered in the store."""
