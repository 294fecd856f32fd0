"""The command that trains one run on a cluster."""
