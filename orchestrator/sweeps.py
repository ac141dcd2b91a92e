"""Sweeps in a store: which were run, and how their trials stand."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pandas as pd
from pydantic import ValidationError

from orchestrator.results import files, intact, read, rows_of
from search_spaces.base.canonical import digest
from search_spaces.datasets import DatasetSpec
from search_spaces.errors import TombolaError, sentence
from search_spaces.sweep import Sweep
from search_spaces.transfer import datasets_of
from search_spaces.trial import Trial
from workers.archive.failures import KINDS, Failures
from workers.data import DataError
from workers.lab.stages import Stage
from workers.rows.schema import fingerprints, row_name
from workers.store import names
from workers.store.backends import Store
from workers.store.objects import Objects
from workers.store.presence import BEAT, Sign, alive, running

_log = logging.getLogger("tombola")


def record(sweep: Sweep, store: Store) -> None:
    """Record a sweep in the store, so that its trials can be found there by their ids.

    Raises:
        StoreError: if the store cannot be written.
    """
    facts = sweep.model_dump()
    Objects(store).commit_fact(names.sweep(digest(facts)), facts)


def enroll(sweep: Sweep, trials: Iterable[Trial], store: Store) -> None:
    """Record in the store which trials a sweep has, so that tables can name the sweeps of a trial.

    Raises:
        StoreError: if the store cannot be written.
    """
    roster = {"sweep": sweep.name, "trials": [trial.id for trial in trials]}
    Objects(store).commit_fact(names.roster(digest(roster)), roster)


@contextmanager
def only_driver(sweep: Sweep, store: Store, beat: float = BEAT) -> Iterator[Sign]:
    """Make this process the only driver of the sweep in this store, until the block is left.

    The sweep is identified by its name. This process renews its sign of life every `beat` seconds. If it is stopped for
    some time, another process can still take over.

    Raises:
        DriverError: if another process runs the sweep.
    """
    sign = Sign(store, names.driver(sweep.name), beat)
    if not sign.take():
        raise DriverError(
            f"sweep {sweep.name!r} is already being run in store {store.uri} by {driver_of(sweep, store, beat)}; wait "
            f"for it, or stop it (Ctrl-C there), then run it again: nothing is lost, and changes to its file count "
            f"from then on"
        )
    with sign:
        yield sign


def driver_of(sweep: Sweep, store: Store, beat: float = BEAT) -> str:
    """Name the process that runs a sweep in a store, for messages."""
    other = alive(store, names.driver(sweep.name), beat)
    return f"process {other['pid']} on {other['host']}" if other else "another process"


def recorded(store: Store) -> list[Sweep]:
    """All sweeps that were run in the store. Sweeps that cannot be read here are reported and left out."""
    objects = Objects(store)
    found = []
    for name in sorted(store.list(names.SWEEPS)):
        try:
            sweep = Sweep.model_validate(objects.read_fact(name, dict[str, Any]))
            sweep.trials()
            found.append(sweep)
        except ValueError as error:  # written by another version, or a plugin cannot be imported here
            why = sentence(error) if isinstance(error, ValidationError) else error
            _log.warning("%s in store %s is left out: %s", name, store.uri, why)
    return found


class DriverError(TombolaError):
    """A sweep that another process is running."""


@dataclass(frozen=True)
class Standing:
    """How the trials of a sweep stand. `rows` are the rows of the trials that have ended."""

    rows: pd.DataFrame
    done: int
    failed: int
    diverged: int
    no_ticket: int
    running: int
    missing: tuple[Trial, ...]


def standing(trials: Sequence[Trial], store: Store) -> Standing:
    """How `trials` stand, from the store. A trial is missing if its data has changed or its files are damaged."""
    rows = rows_of(store, trials)
    rows = rows[~_is_outdated(rows, _fingerprints(trials))]
    done = rows["trial_id"][rows["status"] == "done"]
    by_id = {trial.id: trial for trial in trials}
    torn = [trial_id for trial_id in done if not _is_whole(store, by_id[trial_id])]
    rows = rows[~rows["trial_id"].isin(torn)]
    ended = set(rows["trial_id"])
    missing = tuple(trial for trial in trials if trial.id not in ended)
    counts = rows["status"].value_counts()
    alive = running(store)
    return Standing(
        rows,
        int(counts.get("done", 0)),
        int(counts.get("failed", 0)),
        int(counts.get("diverged", 0)),
        int(counts.get("no_ticket", 0)),
        sum(trial.id in alive for trial in missing),
        missing,
    )


def _fingerprints(trials: Sequence[Trial]) -> dict[str, dict[str, str | None]]:
    """Current fingerprints of each trial's data, by trial id.

    They are empty if the data is not here, because results can be read without it.
    """
    found: dict[tuple[DatasetSpec, ...], dict[str, str | None]] = {}
    by_trial = {trial.id: tuple(datasets_of(trial)) for trial in trials}
    for trial in trials:
        if by_trial[trial.id] not in found:
            try:
                found[by_trial[trial.id]] = fingerprints(trial)
            except DataError:
                found[by_trial[trial.id]] = {}
    return {trial: found[datasets] for trial, datasets in by_trial.items()}


def _is_outdated(rows: pd.DataFrame, now: Mapping[str, Mapping[str, str | None]]) -> pd.Series:
    """Whether the data of each row, or of its source, has changed. Rows without a fingerprint count as unchanged."""
    held = rows[["data_fingerprint", "source_fingerprint"]].astype(object).where(rows.notna(), None)
    pairs = zip(held.to_dict("records"), rows["trial_id"], strict=True)
    outdated = [any(row[name] not in (None, value) for name, value in now[trial].items()) for row, trial in pairs]
    return pd.Series(outdated, index=rows.index, dtype=bool)


def _is_whole(store: Store, trial: Trial) -> bool:
    """Whether the scores, history and mask of a trial exist and can be read."""
    others = (names.SCORES, names.HISTORY, names.MASKS)
    return all(intact(store, dataset, row_name(dataset, trial)) for dataset in others)


def clear_failures(
    trials: Iterable[Trial], stages: Iterable[Stage], store: Store, statuses: Collection[str] = ("failed",)
) -> int:
    """Delete the rows of those `trials` that ended in one of `statuses`; return how many these are.

    Also forget the recorded failures of `stages`, the planned stages of these trials. So the trials can be tried again.
    """
    Failures(Objects(store)).clear(stages, [KINDS[status] for status in statuses])
    by_id = {trial.id: trial for trial in trials}
    rows = rows_of(store, by_id.values())
    ended = set(rows["trial_id"][rows["status"].isin(list(statuses))])
    for trial_id in ended:
        store.delete(row_name(names.TRIALS, by_id[trial_id]))
    return len(ended)


def clear_rows(trials: Sequence[Trial], store: Store) -> None:
    """Remove old files of `trials`, so that new rows can be written.

    Rows and scores of the trial's own evaluation are always removed. History and masks are the same for every
    evaluation, so they stay for its other rows. They are removed only if they are damaged, or if the data has changed.
    """
    prints, by_trial = _fingerprints(trials), _files_by_trial(store)
    for trial in trials:
        rows = read(store, names.TRIALS, by_trial[trial.id])
        outdated = bool(_is_outdated(rows, prints).any())
        for dataset in (names.TRIALS, names.SCORES):
            store.delete(row_name(dataset, trial))
        for dataset in (names.HISTORY, names.MASKS):
            name = row_name(dataset, trial)
            if outdated or not intact(store, dataset, name):
                store.delete(name)


def _files_by_trial(store: Store) -> defaultdict[str, list[str]]:
    """Files of the trials dataset, by trial id."""
    by_trial = defaultdict(list)
    for name in files(store, names.TRIALS):
        by_trial[names.trial_of(name)].append(name)
    return by_trial
