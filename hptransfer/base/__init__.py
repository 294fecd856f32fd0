"""What everything stands on: errors, refusals, configuration files, and files that are there whole or not at all."""
