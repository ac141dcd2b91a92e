"""Sources: the trials and tickets that a sweep takes tickets from, found in a store before it is planned."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from orchestrator import results
from orchestrator.sweeps import recorded
from search_spaces.errors import TombolaError
from search_spaces.methods import Control, Method
from search_spaces.sweep import Sweep
from search_spaces.transfer import Source, Transfer
from search_spaces.trial import Trial
from workers.store import Store
from workers.tickets import imported


class SourceError(TombolaError):
    """A source that is not there, or has no ticket."""


def frozen(sweep: Sweep, store: Store) -> Sweep:
    """The sweep with the ids of what its queries find in a store now, so that it means the same ever after.

    Raises:
        SourceError: if a query finds nothing.
    """
    return sweep.model_copy(update={"methods": tuple(_frozen(method, store) for method in sweep.methods)})


def resolved(trials: Iterable[Trial], store: Store) -> tuple[Trial, ...]:
    """The same trials, with every source written out.

    Raises:
        SourceError: if one is not there, or has no ticket.
        TicketError: if a ticket was not imported.
    """
    known = _Known(store)
    return tuple(_resolved(trial, known) for trial in trials)


@dataclass
class _Known:
    """The trials that a store knows, by their ids, read once."""

    store: Store
    _specs: dict[str, Trial] = field(default_factory=dict)
    _errors: dict[str, str] = field(default_factory=dict)
    _read: bool = False

    def trial(self, trial_id: str) -> Trial:
        if not self._read:
            self._learn()
        if trial_id in self._errors:
            raise SourceError(f"source: trial {trial_id} has no ticket to take: {self._errors[trial_id]}")
        if trial_id not in self._specs:
            raise SourceError(f"source: there is no trial {trial_id!r} in store {self.store.uri}")
        return self._specs[trial_id]

    def _learn(self) -> None:
        rows = results.trials(self.store.uri)
        for row in rows.drop_duplicates("trial_id").to_dict("records"):
            self._specs[row["trial_id"]] = Trial.model_validate_json(row["spec"])
            if row["status"] != "done":
                self._errors[row["trial_id"]] = f"it is {row['status']}: {row['error']}"
        for sweep in recorded(self.store):
            for trial in sweep.trials():
                self._specs.setdefault(trial.id, trial)
        self._read = True


def _frozen(method: Method, store: Store) -> Method:
    if isinstance(method, Control):
        return method.model_copy(update={"of": _frozen(method.of, store)})
    if not isinstance(method, Transfer) or method.source.query is None:
        return method
    rows = results.matching(results.trials(store.uri), method.source.query, "source.query")
    found = sorted(set(rows["trial_id"][(rows["status"] == "done") & (rows["kept"] < rows["prunable"])]))
    if not found:
        raise SourceError(f"source.query: no finished trial in store {store.uri} matches {method.source.query!r}")
    return method.model_copy(update={"source": Source(trial_id=tuple(found))})


def _resolved(trial: Trial, known: _Known) -> Trial:
    finder = trial.finder
    if not isinstance(finder, Transfer) or finder.source.trial or finder.source.imported:
        return trial
    source = _source(trial, finder.source, known)
    plugins = tuple(dict.fromkeys((*trial.plugins, *(source.trial.plugins if source.trial else ()))))
    there = trial.changed(method=_with(trial.method, source), plugins=plugins)
    there.check()
    return there


def _with(method: Method, source: Source) -> Method:
    if isinstance(method, Control):
        return method.model_copy(update={"of": _with(method.of, source)})
    return method.model_copy(update={"source": source})


def _source(trial: Trial, source: Source, known: _Known) -> Source:
    if source.ticket:
        return Source(imported=imported(known.store, source.ticket))
    assert source.trial_id, "a query is frozen before its trials are resolved"
    found = {trial_id: _resolved(known.trial(trial_id), known) for trial_id in source.trial_id}
    if len(found) > 1:
        found = {i: t for i, t in found.items() if (t.sparsity, t.seed) == (trial.sparsity, trial.seed)}
    if len(found) != 1:
        which = f"sparsity {trial.sparsity:g} and seed {trial.seed.init}/{trial.seed.order}"
        raise SourceError(f"source: one of the trials named has to have {which}; {', '.join(found) or 'none'} has")
    return Source(trial=next(iter(found.values())))
