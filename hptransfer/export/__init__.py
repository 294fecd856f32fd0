"""A prediction in the form that a trainer reads: one module per target, neither torch nor ray."""
