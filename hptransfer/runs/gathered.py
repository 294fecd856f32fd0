"""Many records in one Parquet file, such that a flipped bit costs at most the record that it is in.

The column ``record`` has the sealed text of every record, in the file as it is, so that a damaged file is searched for them; the
others are `Record.row` of each, which is read without parsing. Every page has a checksum.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import polars as pl
import pyarrow as pa
from pyarrow import parquet

from hptransfer.base.errors import one_line
from hptransfer.base.stored import SEAL, sealed, unsealed
from hptransfer.runs.record import ROW_SCHEMA, Record

SCHEMA = {**ROW_SCHEMA, "record": pl.String}
BATCH = 1000  # rows that are read at once: all at once they take twice their memory
START = b'{"schema_version":'
TEXT = re.compile(re.escape(START) + b".*?" + re.escape(SEAL) + b'[0-9a-f]{64}"}', re.DOTALL)


def to_frame(records: Iterable[Record]) -> pl.DataFrame:
    """A row for each record, as `Record.row` has it."""
    columns: dict[str, list[Any]] = {name: [] for name in ROW_SCHEMA}
    for record in records:
        for name, value in record.row().items():
            columns[name].append(value)
    return pl.DataFrame(columns, schema=ROW_SCHEMA)


def gather(records: list[Record]) -> pl.DataFrame:
    """Records as one frame of `SCHEMA`."""
    texts = [sealed(record.model_dump_json()) for record in records]
    return to_frame(records).with_columns(pl.Series("record", texts, dtype=pl.String))


def to_parquet(frame: pl.DataFrame) -> bytes:
    """A frame of `SCHEMA` as a file."""
    sink, rows = pa.BufferOutputStream(), list(ROW_SCHEMA)
    compression = dict.fromkeys(rows, "snappy") | {"record": "none"}
    # No statistics: they would hold records too.
    parquet.write_table(
        frame.to_arrow(), sink, compression=compression, use_dictionary=rows, write_statistics=False, write_page_checksum=True
    )
    return bytes(sink.getvalue().to_pybytes())


def from_parquet(content: bytes, with_records: bool = True) -> pl.DataFrame:
    """The frame of a file, every checksum verified. Raises ValueError where it is none of `SCHEMA`. Without records: they are
    verified, and not kept."""
    try:
        file = parquet.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)
        if pl.DataFrame(file.schema_arrow.empty_table()).schema != SCHEMA:
            raise ValueError("it has other columns than gathered records have")
        names = [*SCHEMA] if with_records else [*ROW_SCHEMA]
        fields = pa.schema([file.schema_arrow.field(name) for name in names])
        table = pa.Table.from_batches(file.iter_batches(BATCH, columns=names), fields)
        texts = [table] if with_records else file.iter_batches(BATCH, columns=["record"])
        unnamed = table["run_id"].null_count + sum(part["record"].null_count for part in texts)
    except Exception as error:  # readers of Parquet raise whatever the damage provokes
        raise ValueError(one_line(error)) from None
    if unnamed:
        raise ValueError("it has runs without a name or a record")
    return pl.DataFrame(pl.from_arrow(table, rechunk=False))


def texts_in(content: bytes) -> tuple[list[bytes], int]:
    """What can be found of the texts of the records in a file, however damaged, and how many there were."""
    # From the last beginning: the record before may have lost its end.
    pieces = (piece[piece.rindex(START) :] for piece in TEXT.findall(content))
    found = [text for text in pieces if _is_whole(text)]
    if count := max(content.count(START), content.count(SEAL)) if found else 0:
        return found, count
    try:  # by a version that did not seal them
        texts = parquet.read_table(pa.BufferReader(content), columns=["record"])["record"].to_pylist()
    except Exception:  # as above
        return [], _rows(content)
    return [text.encode() for text in texts if isinstance(text, str)], len(texts)


def _is_whole(text: bytes) -> bool:
    try:
        return unsealed(text) != text
    except ValueError:
        return False


def _rows(content: bytes) -> int:
    """How many records a file says that it has; 0 where it does not say."""
    try:
        return int(parquet.read_metadata(pa.BufferReader(content)).num_rows)
    except Exception:  # as above
        return 0
