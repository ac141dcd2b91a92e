"""Results: the rows of a store as pandas tables, and masks as tensors."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from search_spaces.errors import TombolaError
from search_spaces.trial import Trial
from workers import names
from workers.rows import SCHEMAS, row_name
from workers.store import Store, open_store

if TYPE_CHECKING:
    from workers.pruning import Mask

_log = logging.getLogger("tombola")


class ResultsError(TombolaError):
    """Results that are not there; the message says what is."""


def trials(uri: str) -> pd.DataFrame:
    """One row for each trial in the store at `uri`, and each way it was evaluated."""
    return _all(uri, names.TRIALS)


def scores(uri: str) -> pd.DataFrame:
    """One row for each trial, measured epoch and metric."""
    return _all(uri, names.SCORES)


def history(uri: str) -> pd.DataFrame:
    """One row for each trial, epoch and logged quantity."""
    return _all(uri, names.HISTORY)


def masks(uri: str) -> pd.DataFrame:
    """One row for each trial and prunable tensor."""
    return _all(uri, names.MASKS)


def mask(uri: str, trial_id: str) -> Mask:
    """The mask of a trial.

    Raises:
        ResultsError: if the store has no mask of such a trial.
    """
    # Imported here because a mask is made of torch tensors, which nothing else in this module needs.
    from workers.pruning import Mask

    store = open_store(uri)
    table = read(store, names.MASKS, [names.rows(names.MASKS, trial_id, "")])
    if table.empty:
        raise ResultsError(f"store {store.uri} has no mask of a trial {trial_id!r}; `tombola results` lists its trials")
    return Mask({name: kept for packed in table["mask"] for name, kept in Mask.unpack(packed).items()})


def picture(uri: str, evaluation_key: str, kind: str) -> bytes:
    """A PNG that an evaluation made, of `samples` or of `reconstructions`.

    Raises:
        ResultsError: if it made none of that kind.
    """
    store = open_store(uri)
    png = store.get(names.picture(evaluation_key, kind))
    if png is None:
        raise ResultsError(f"store {store.uri} has no picture of {kind} of evaluation {evaluation_key!r}")
    return png


def matching(rows: pd.DataFrame, condition: str, said_by: str) -> pd.DataFrame:
    """The rows that meet a condition on columns, such as "sparsity > 0.5", which was said by `said_by`.

    Raises:
        ResultsError: if it is none.
    """
    try:
        chosen = rows.query(condition)
        if not isinstance(chosen, pd.DataFrame):
            raise TypeError("is no condition")
        return chosen
    except Exception as error:
        problem = f"{said_by} {condition!r}: {(str(error) or type(error).__name__).splitlines()[0]}"
        raise ResultsError(f"{problem}; it takes a condition on columns, like 'sparsity > 0.5'") from error


def rows_of(store: Store, wanted: Iterable[Trial]) -> pd.DataFrame:
    """The rows of the given trials, as their own evaluation measured them, in their order."""
    return read(store, names.TRIALS, [row_name(names.TRIALS, trial) for trial in wanted])


def rows_of_id(store: Store, trial_id: str) -> pd.DataFrame:
    """The rows of a trial, one for each way it was evaluated."""
    files = sorted(name for name in store.list(names.TRIALS) if name.startswith(f"{names.TRIALS}/{trial_id}-"))
    return read(store, names.TRIALS, files)


def read(store: Store, dataset: str, files: Iterable[str]) -> pd.DataFrame:
    """The rows in `files`; a damaged file is reported and left out."""
    tables = [table for name in files if (table := intact(store, dataset, name)) is not None]
    rows: pd.DataFrame = pa.concat_tables([SCHEMAS[dataset].empty_table(), *tables]).to_pandas()
    return rows


def intact(store: Store, dataset: str, name: str) -> pa.Table | None:
    """The rows in a file; None if it is not there, or is damaged, which is reported."""
    data = store.get(name)
    if data is None:
        return None
    try:
        file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
        table = file.read(use_threads=False)  # for files this small, threads cost more than they save
        if not table.schema.equals(SCHEMAS[dataset]) or table["trial_id"].null_count:
            raise ValueError("its columns are not those of such a file")
    except (ValueError, OSError) as error:  # Arrow's own errors are among them
        _log.warning("%s is damaged in store %s and left out: %s", name, store.uri, error)
        return None
    return table


def _all(uri: str, dataset: str) -> pd.DataFrame:
    store = open_store(uri)
    return read(store, dataset, sorted(store.list(dataset)))
