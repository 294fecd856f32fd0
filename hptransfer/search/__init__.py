"""The search: studies of small runs under Ray Tune, proposals by design or by Optuna, everything remembered in the store."""
