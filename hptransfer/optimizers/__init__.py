"""Optimizers: recipes with their options and scaling rules, and the engine that runs them."""
