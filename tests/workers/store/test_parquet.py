"""Rows in Parquet: other versions have other columns, and damage is seen."""

import io
import random
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from workers.rows.schema import SCHEMAS
from workers.store.parquet import UnreadableError, packed, unpacked

SCHEMA = pa.schema([("trial_id", pa.string()), ("sparsity", pa.float64()), ("epochs", pa.int64())])
ROWS = [{"trial_id": "a", "sparsity": 0.5, "epochs": 3}, {"trial_id": "b", "sparsity": float("nan"), "epochs": None}]


def of_an_older_version(rows: list[dict[str, Any]], schema: pa.Schema) -> bytes:
    """As rows were written before files had a digest of themselves."""
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), file, compression="zstd", write_page_checksum=True)
    return file.getvalue()


@pytest.mark.parametrize("dataset", SCHEMAS)
def test_rows_are_read_as_they_were_written_by_any_reader(dataset: str) -> None:
    data = packed([{"trial_id": "a"}, {"trial_id": "b"}], SCHEMAS[dataset])
    table = unpacked(data, SCHEMAS[dataset])
    assert table.schema.equals(SCHEMAS[dataset], check_metadata=True)
    assert table["trial_id"].to_pylist() == pd.read_parquet(io.BytesIO(data))["trial_id"].tolist() == ["a", "b"]


@pytest.mark.parametrize("write", [packed, of_an_older_version])
@pytest.mark.parametrize("column", ["sparsity", "epochs"])
def test_a_column_that_a_file_does_not_have_is_empty(write: Any, column: str) -> None:
    older = pa.schema([field for field in SCHEMA if field.name != column])
    table = unpacked(write([{k: row[k] for k in older.names} for row in ROWS], older), SCHEMA)
    assert table.schema.equals(SCHEMA)
    assert table[column].to_pylist() == [None, None]
    assert table["trial_id"].to_pylist() == ["a", "b"]


def test_a_column_that_is_not_known_and_another_order_are_ignored() -> None:
    newer = pa.schema([("novel", pa.list_(pa.string())), *reversed(SCHEMA)])
    table = unpacked(packed([{**ROWS[0], "novel": ["x"]}], newer), SCHEMA)
    assert table.to_pylist() == [ROWS[0]]


@pytest.mark.parametrize(
    ("kind", "values"), [(pa.int32(), [1, None]), (pa.float64(), [2.0, None]), (pa.int8(), [0, 1])]
)
def test_a_column_of_another_type_is_read_where_nothing_is_lost(kind: pa.DataType, values: list[Any]) -> None:
    text = pa.dictionary(pa.int32(), pa.large_string())
    other = pa.schema([("trial_id", text), ("sparsity", pa.float32()), ("epochs", kind)])
    rows = [{**row, "epochs": value} for row, value in zip(ROWS, values, strict=True)]
    table = unpacked(of_an_older_version(rows, other), SCHEMA)
    assert table["trial_id"].to_pylist() == ["a", "b"]
    assert table["epochs"].to_pylist() == values
    assert table["sparsity"].to_pylist()[0] == 0.5


@pytest.mark.parametrize(
    ("kind", "value"), [(pa.float64(), 2.5), (pa.string(), "two"), (pa.string(), "02"), (pa.list_(pa.int64()), [2])]
)
def test_a_column_whose_type_changed_is_told_in_a_sentence(kind: pa.DataType, value: Any) -> None:
    other = pa.schema([("trial_id", pa.string()), ("epochs", kind)])
    with pytest.raises(UnreadableError, match=r"^its column 'epochs' is of type .* reads int64 there$"):
        unpacked(packed([{"trial_id": "a", "epochs": value}], other), SCHEMA)


def test_no_bit_of_a_file_changes_unseen() -> None:
    data = packed(ROWS, SCHEMA)
    draws = random.Random(0)
    for at in range(len(data)):
        damaged = bytearray(data)
        damaged[at] ^= 1 << draws.randrange(8)
        try:
            table = unpacked(bytes(damaged), SCHEMA)
        except UnreadableError:
            continue
        assert repr(table.to_pylist()) == repr(ROWS), f"byte {at} of {len(data)}"
    for length in range(0, len(data), 7):
        with pytest.raises(UnreadableError):
            unpacked(data[:length], SCHEMA)


def test_a_footer_without_a_digest_that_was_damaged_is_seen() -> None:
    data = of_an_older_version(ROWS, SCHEMA)
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    for name in SCHEMA.names:
        at = data.index(name.encode(), footer)
        with pytest.raises(UnreadableError, match="damaged"):
            unpacked(data[:at] + b"X" + data[at + 1 :], SCHEMA)
