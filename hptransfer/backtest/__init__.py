"""Predictions of cells that were held out, from the rest of a table: how right the method is, and how sure it may be."""
