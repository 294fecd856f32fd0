"""A prediction in the form that a production trainer reads: neither torch nor ray."""
