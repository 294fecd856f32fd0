"""Scaling rules as pure functions of ratios target/base. No torch, no state; nothing else in the project scales anything."""
