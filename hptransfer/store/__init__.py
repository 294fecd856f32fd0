"""The command over a store: what is in it, runs from elsewhere, and one file out of many."""
