"""The user's own training program as a trainer: a command with placeholders, and where its loss is printed."""
