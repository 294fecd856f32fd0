"""The coordinate check: whether updates move every role of a model by the same amount at every width."""
