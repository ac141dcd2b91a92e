"""Parquet files of rows. Reading detects damage, and accepts files of versions with other columns."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

_SEAL = b"SHA-256 of all other bytes: "
_DIGEST = hashlib.sha256().digest_size


class UnreadableError(ValueError):
    """Bytes that cannot be read as rows with the columns of a schema. The message says why."""


def packed(rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> bytes:
    """Write rows as a Parquet file. A digest of the file lies between pages and footer, where readers ignore it."""
    file = io.BytesIO()
    table = pa.Table.from_pylist([dict(row) for row in rows], schema=schema)
    pq.write_table(table, file, compression="zstd", write_page_checksum=True)
    data = file.getvalue()
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    return data[:footer] + _SEAL + hashlib.sha256(data).digest() + data[footer:]


def unpacked(data: bytes, schema: pa.Schema) -> pa.Table:
    """Read the rows of a Parquet file, whichever version wrote it, with the columns of `schema`.

    A column that is missing in the file is empty; a column that is missing in `schema` is dropped. A column with
    another type is converted, if the conversion loses nothing.

    Raises:
        UnreadableError: if the file is damaged, or a column cannot be converted without loss.
    """
    if not _seal_holds(data):
        raise UnreadableError("it is damaged: its digest is another")
    try:
        table = _table(data)
    except (ValueError, OSError, pa.ArrowException) as error:
        raise UnreadableError(f"it is damaged: {error}") from error
    if table.schema.equals(schema):
        return table
    held = dict(zip(table.column_names, table.columns, strict=True))
    return pa.table([_column(held.get(field.name), field, len(table)) for field in schema], schema=schema)


def _seal_holds(data: bytes) -> bool:
    """Whether the digest in a file matches the rest of it. Files of older versions have none, and pass."""
    before, seal, after = data.rpartition(_SEAL)
    return not seal or hashlib.sha256(before + after[_DIGEST:]).digest() == after[:_DIGEST]


def _table(data: bytes) -> pa.Table:
    """Read a file. Pages have checksums. The footer has none, but Arrow writes the columns into it twice."""
    file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
    said = (file.metadata.metadata or {}).get(b"ARROW:schema")
    columns = file.schema_arrow.names
    if said and pa.ipc.read_schema(pa.py_buffer(base64.b64decode(said))).names != columns:
        raise ValueError("its footer contradicts itself")
    if len(set(columns)) < len(columns):
        raise ValueError("two of its columns have one name")
    return file.read(use_threads=False)  # the files are small, so threads cost more than they save


def _column(held: pa.ChunkedArray | None, field: pa.Field, rows: int) -> pa.ChunkedArray | pa.Array:
    if held is None:
        return pa.nulls(rows, field.type)
    if held.type.equals(field.type):
        return held
    try:
        cast = held.cast(field.type)
        lossless = cast.cast(held.type).to_pandas().equals(held.to_pandas())
    except pa.ArrowException:
        lossless = False
    if not lossless:
        raise UnreadableError(
            f"its column {field.name!r} is of type {held.type}, and this version of tombola reads {field.type} there"
        )
    return cast
