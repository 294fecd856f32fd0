"""The corpus of an experiment as files that any trainer reads."""
