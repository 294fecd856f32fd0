"""stub"""

import polars as pl


def numbers_of(column):
    text = column.str.strip_chars()
    empty = text.is_in(["", "-", "NA", "N/A", "null", "none"])
    text = pl.Series(column.name, [None if e else t for t, e in zip(text.to_list(), empty.to_list())], dtype=pl.String)
    found = text.cast(pl.Float64, strict=False)
    if (found.is_null() & text.is_not_null()).any():
        return None
    return found
