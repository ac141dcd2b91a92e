"""Results: the rows of a store as pandas tables, and masks as tensors."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow as pa

from search_spaces.errors import TombolaError
from search_spaces.trial import Trial
from workers import names
from workers.parquet import UnreadableError, unpacked
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


def rows_of(store: Store, wanted: Iterable[Trial]) -> pd.DataFrame:
    """The rows of the given trials, as their own evaluation measured them, in their order."""
    return read(store, names.TRIALS, [row_name(names.TRIALS, trial) for trial in wanted])


def rows_of_id(store: Store, trial_id: str) -> pd.DataFrame:
    """The rows of a trial, one for each way it was evaluated."""
    return read(store, names.TRIALS, [name for name in files(store, names.TRIALS) if names.trial_of(name) == trial_id])


def files(store: Store, dataset: str) -> list[str]:
    """The files of a dataset of rows; what a synchroniser or a file manager left beside them is none."""
    return sorted(name for name in store.list(dataset) if names.is_rows(name))


def read(store: Store, dataset: str, wanted: Iterable[str]) -> pd.DataFrame:
    """The rows in files; those that cannot be read are reported and left out."""
    tables, left_out = [SCHEMAS[dataset].empty_table()], defaultdict(list)
    for name in wanted:
        try:
            table = _table(store, dataset, name)
        except UnreadableError as error:
            left_out[str(error)].append(name)
        else:
            tables += [] if table is None else [table]
    for why, those in left_out.items():
        _tell(store, those, why)
    rows: pd.DataFrame = pa.concat_tables(tables).to_pandas()
    return rows


def intact(store: Store, dataset: str, name: str) -> bool:
    """Whether a file of rows is there and can be read; if it cannot, that is reported."""
    try:
        return _table(store, dataset, name) is not None
    except UnreadableError as error:
        _tell(store, [name], str(error))
        return False


def _table(store: Store, dataset: str, name: str) -> pa.Table | None:
    data = store.get(name)
    if data is None:
        return None
    table = unpacked(data, SCHEMAS[dataset])
    if set(table["trial_id"].to_pylist()) - {names.trial_of(name)}:
        raise UnreadableError("it is damaged: its rows are of another trial than its name")
    return table


def _tell(store: Store, those: Sequence[str], why: str) -> None:
    others = f" (so are {len(those) - 1} more)" if len(those) > 1 else ""
    _log.warning("%s in store %s is left out%s: %s", those[0], store.uri, others, why)


def _all(uri: str, dataset: str) -> pd.DataFrame:
    store = open_store(uri)
    return read(store, dataset, files(store, dataset))
