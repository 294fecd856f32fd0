"""Two experiments side by side: ``python -m hptransfer.report --compare A B``."""
