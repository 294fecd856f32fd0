"""The command over a store: what is in it, runs from elsewhere, and few files out of many."""
