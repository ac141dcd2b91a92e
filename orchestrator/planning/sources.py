"""Sources: trials and imported tickets from which a sweep takes tickets. They are looked up before planning."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from orchestrator import results
from orchestrator.conditions import matching
from orchestrator.sweeps import recorded
from search_spaces.base.canonical import digest
from search_spaces.errors import TombolaError
from search_spaces.methods import Control, Method
from search_spaces.sweep import Sweep
from search_spaces.transfer import Source, Transfer
from search_spaces.trial import Trial, stored_trial
from workers.archive.imported import imported, plugins_of
from workers.settling.codes import Codes
from workers.store import names
from workers.store.backends import Store
from workers.store.objects import Objects

_log = logging.getLogger("tombola")


class SourceError(TombolaError):
    """A source that does not exist, or has no ticket."""


def frozen(sweep: Sweep, store: Store) -> Sweep:
    """The sweep, with its source queries replaced by the ids of the trials that they find.

    If the store remembers what a query found in an earlier run of the sweep, the query keeps these ids.

    Raises:
        SourceError: if a query finds nothing.
    """
    return sweep.by(tuple(_frozen(method, sweep, store) for method in sweep.methods))


def remember(sweep: Sweep, store: Store) -> None:
    """Record in the store what the queries of a sweep find, so that they find the same in later runs."""
    for method in sweep.methods:
        finder = method.of if isinstance(method, Control) else method
        if isinstance(finder, Transfer) and finder.source.query is not None:
            found = _found(finder.source.query, sweep, store)
            Objects(store).commit_fact(_name(finder.source.query, sweep), found)


def resolved(trials: Iterable[Trial], store: Store) -> tuple[Trial, ...]:
    """The same trials, with every source written out.

    Raises:
        SourceError: if a source does not exist, or has no ticket.
        TicketError: if a ticket was not imported.
    """
    known = _Known(store)
    return tuple(_resolved(trial, known) for trial in trials)


@dataclass
class _Known:
    """The trials that a store knows, by id; the store is read once.

    `rows` has the specs of trials with rows. They are parsed on demand, because parsing may need plugins that are not
    here. `errors` says why a trial ended without a ticket.
    """

    store: Store
    rows: dict[str, str] = field(default_factory=dict)
    specs: dict[str, Trial] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    read: bool = False

    def trial(self, trial_id: str) -> Trial:
        if not self.read:
            self._learn()
        if trial_id in self.errors:
            raise SourceError(f"source: trial {trial_id} has no ticket to take: {self.errors[trial_id]}")
        if trial_id in self.rows and trial_id not in self.specs:
            self.specs[trial_id] = stored_trial(trial_id, self.rows[trial_id])
        if trial_id not in self.specs:
            raise SourceError(f"source: there is no trial {trial_id!r} in store {self.store.uri}")
        return self.specs[trial_id]

    def _learn(self) -> None:
        self.read = True
        rows = results.all_trials(self.store)
        for row in rows.to_dict("records"):
            self.rows[row["trial_id"]] = row["spec"]
            if row["status"] != "done":
                self.errors[row["trial_id"]] = f"it is {row['status']}: {row['error']}"
        for done in rows["trial_id"][rows["status"] == "done"]:  # one done evaluation is enough
            self.errors.pop(done, None)
        for trial in _recorded(self):
            if trial.id not in self.rows:
                self.specs[trial.id] = trial


def recorded_trials(store: Store) -> list[Trial]:
    """The trials of all sweeps that were run in a store, except those whose sources are gone."""
    return list(_recorded(_Known(store)))


def _recorded(known: _Known) -> Iterator[Trial]:
    codes = Codes(known.store)
    for sweep in recorded(known.store):
        for trial in sweep.trials():
            try:
                yield codes.settle([_resolved(trial, known)])[0]
            except TombolaError as error:
                _log.debug("trial %s of sweep %s is left out: %s", trial.id, sweep.name, error)


def _frozen(method: Method, sweep: Sweep, store: Store) -> Method:
    if isinstance(method, Control):
        return method.model_copy(update={"of": _frozen(method.of, sweep, store)})
    if not isinstance(method, Transfer) or method.source.query is None:
        return method
    return method.model_copy(update={"source": Source(trial_id=tuple(_found(method.source.query, sweep, store)))})


def _found(query: str, sweep: Sweep, store: Store) -> list[str]:
    """Ids of done trials with a pruned ticket that match a query: those that the store remembers, or else all."""
    remembered = Objects(store).read_fact(_name(query, sweep), list[str])
    if remembered is not None:
        return remembered
    rows = matching(results.all_trials(store), query, "source.query")
    found = sorted(set(rows["trial_id"][(rows["status"] == "done") & (rows["kept"] < rows["prunable"])]))
    if not found:
        raise SourceError(f"source.query: no finished trial in store {store.uri} matches {query!r}")
    return found


def _name(query: str, sweep: Sweep) -> str:
    return names.choice(digest({"sweep": sweep.name, "query": query}))


def _resolved(trial: Trial, known: _Known) -> Trial:
    finder = trial.finder
    if not isinstance(finder, Transfer) or finder.source.trial or finder.source.imported:
        return trial
    source = _source(trial, finder.source, known)
    ticket = finder.source.ticket
    others = source.trial.plugins if source.trial else plugins_of(known.store, ticket) if ticket else ()
    plugins = tuple(dict.fromkeys((*trial.plugins, *others)))
    there = trial.changed(method=_with(trial.method, source), plugins=plugins)
    try:
        there.check()
    except ValueError as error:
        raise SourceError(str(error)) from error
    return there


def _with(method: Method, source: Source) -> Method:
    if isinstance(method, Control):
        return method.model_copy(update={"of": _with(method.of, source)})
    return method.model_copy(update={"source": source})


def _source(trial: Trial, source: Source, known: _Known) -> Source:
    if source.ticket:
        return Source(imported=imported(known.store, source.ticket))
    assert source.trial_id, "a query is frozen before its trials are resolved"
    named = [_resolved(known.trial(trial_id), known) for trial_id in source.trial_id]
    alike = [each for each in named if each.sparsity == trial.sparsity]
    if len(alike) > 1:
        alike = [each for each in alike if each.seed == trial.seed]
    if len(alike) != 1:
        there = ", ".join(f"{t.id} has {t.sparsity:g} and {t.seed.init}/{t.seed.order}" for t in alike or named)
        raise SourceError(
            f"source: one of the trials named has to have sparsity {trial.sparsity:g}, and of several the seed "
            f"{trial.seed.init}/{trial.seed.order}; {there}"
        )
    return Source(trial=alike[0])
