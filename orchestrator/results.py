"""Results: the rows of a store as pandas tables, and masks as tensors."""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow as pa

from orchestrator.labels import variants, variants_of
from search_spaces.columns import options
from search_spaces.errors import TombolaError
from search_spaces.trial import Trial
from workers.archive.facts import Roster
from workers.rows.schema import SCHEMAS, row_name
from workers.store import names
from workers.store.backends import Store, existing_store
from workers.store.objects import Objects
from workers.store.parquet import UnreadableError, unpacked

if TYPE_CHECKING:
    from workers.masks import Mask

_log = logging.getLogger("tombola")


class ResultsError(TombolaError):
    """Results that a store does not have; the message says what it has."""


def trials(uri: Store | str | Path, sweep: str | None = None) -> pd.DataFrame:
    """Table of the trials in the store at `uri`, or of one sweep, given by its name.

    It has one row for each trial and each way the trial was evaluated. Some columns are not stored but added: `variant`
    tells the trials of this table apart, except for sparsity and seed; `sweep` names the sweeps that have the trial;
    the options of plugins have columns too.

    Raises:
        StoreError: if there is no such store.
        ResultsError: if no such sweep was run there.
    """
    store = existing_store(uri)
    rows = all_trials(store)
    if sweep is None:
        return rows
    known = memberships(store)
    members = {trial for trial, sweeps in known.items() if sweep in sweeps}
    if not members:
        others = ", ".join(sorted({name for sweeps in known.values() for name in sweeps})) or "none"
        raise ResultsError(
            f"store {store.uri} knows no trials of a sweep {sweep!r}; it knows those of: {others} (a sweep that an "
            f"earlier version ran is known once it is run again, which trains nothing that is there)"
        )
    chosen = rows[rows["trial_id"].isin(members)].reset_index(drop=True)
    return chosen.assign(variant=variants([json.loads(spec) for spec in chosen["spec"]]))


def scores(uri: Store | str | Path) -> pd.DataFrame:
    """One row for each trial, measured epoch and metric."""
    return _all(existing_store(uri), names.SCORES)


def history(uri: Store | str | Path) -> pd.DataFrame:
    """One row for each trial, epoch and logged quantity."""
    return _all(existing_store(uri), names.HISTORY)


def masks(uri: Store | str | Path) -> pd.DataFrame:
    """One row for each trial and prunable tensor."""
    return _all(existing_store(uri), names.MASKS)


def mask(uri: Store | str | Path, trial_id: str) -> Mask:
    """The mask of a trial.

    Raises:
        ResultsError: if the store has no mask of such a trial.
    """
    # Imported here because a mask is made of torch tensors, which nothing else in this module needs.
    from workers.masks import Mask

    store = existing_store(uri)
    table = read(store, names.MASKS, [names.rows(names.MASKS, trial_id, "")])
    if table.empty:
        raise ResultsError(f"store {store.uri} has no mask of a trial {trial_id!r}; results.trials(...) has their ids")
    return Mask({name: kept for packed in table["mask"] for name, kept in Mask.unpack(packed).items()})


def picture(uri: Store | str | Path, evaluation_key: str, kind: str) -> bytes:
    """PNG picture from an evaluation; `kind` is `samples` or `reconstructions`.

    Raises:
        ResultsError: if the evaluation made no such picture.
    """
    store = existing_store(uri)
    png = store.get(names.picture(evaluation_key, kind))
    if png is None:
        raise ResultsError(f"store {store.uri} has no picture of {kind} of evaluation {evaluation_key!r}")
    return png


def rows_of(store: Store, wanted: Iterable[Trial]) -> pd.DataFrame:
    """Rows of the given trials as measured by their own evaluation, in the given order, with their variants."""
    wanted = list(wanted)
    rows = _described(store, read(store, names.TRIALS, [row_name(names.TRIALS, trial) for trial in wanted]))
    return rows.assign(variant=rows["trial_id"].map(variants_of(wanted)))


def all_trials(store: Store) -> pd.DataFrame:
    """Rows of all trials in a store."""
    return _described(store, _all(store, names.TRIALS))


def memberships(store: Store) -> dict[str, list[str]]:
    """Names of the sweeps that have a trial, by trial id, for all sweeps that were run in a store."""
    rosters = [Objects(store).read_fact(name, Roster) for name in sorted(store.list(names.ROSTERS))]
    found: defaultdict[str, set[str]] = defaultdict(set)
    for roster in (each for each in rosters if each is not None):
        for trial_id in roster["trials"]:
            found[trial_id].add(roster["sweep"])
    return {trial_id: sorted(sweeps) for trial_id, sweeps in found.items()}


def rows_of_id(store: Store, trial_id: str) -> pd.DataFrame:
    """Rows of a trial, one for each way it was evaluated."""
    return read(store, names.TRIALS, [name for name in files(store, names.TRIALS) if names.trial_of(name) == trial_id])


def files(store: Store, dataset: str) -> list[str]:
    """Names of the files with rows of a dataset. Files that a synchroniser or file manager left there do not count."""
    return sorted(name for name in store.list(dataset) if names.is_rows(name))


def read(store: Store, dataset: str, wanted: Iterable[str]) -> pd.DataFrame:
    """Rows in the given files. Files that cannot be read are reported and left out."""
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
    """Whether a file of rows exists and can be read. An unreadable file is reported."""
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
    if dataset == names.TRIALS and not all(map(_says_all, table["spec"].to_pylist())):
        raise UnreadableError("its rows do not say of what trials they are")
    return table


def _says_all(spec: str | None) -> bool:
    """Whether a row's spec describes the model, data set, method and recipe that its options belong to."""
    try:
        said = json.loads(spec or "null")
    except ValueError:
        return False
    nouns = ("model", "dataset", "method", "recipe")
    return isinstance(said, dict) and all(isinstance(said.get(noun), dict) for noun in nouns)


def _tell(store: Store, those: Sequence[str], why: str) -> None:
    others = f" (so are {len(those) - 1} more)" if len(those) > 1 else ""
    _log.warning("%s in store %s is left out%s: %s", those[0], store.uri, others, why)


def _described(store: Store, rows: pd.DataFrame) -> pd.DataFrame:
    """Add variants, sweeps and options to rows, including the options of plugins and of older versions."""
    specs = [json.loads(spec) for spec in rows["spec"]]
    given = pd.DataFrame([options(spec) for spec in specs], index=rows.index)
    sweeps = memberships(store)
    rows = pd.concat([rows.drop(columns=given.columns, errors="ignore"), given], axis=1)
    described = {"variant": variants(specs), "sweep": [", ".join(sweeps.get(each, ())) for each in rows["trial_id"]]}
    return rows[_in_order(rows.columns)].assign(**described)


def _in_order(columns: Iterable[str]) -> list[str]:
    """Columns in the order of the schema, then the others by name."""
    there = set(columns)
    return [*(n for n in SCHEMAS[names.TRIALS].names if n in there), *sorted(there - set(SCHEMAS[names.TRIALS].names))]


def _all(store: Store, dataset: str) -> pd.DataFrame:
    return read(store, dataset, files(store, dataset))
