"""Explanations of trials: the stages of which a trial consists."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from orchestrator.labels import labels_of
from orchestrator.planning.inventory import take_inventory
from orchestrator.planning.plan import make_plan
from orchestrator.planning.sources import recorded_trials
from orchestrator.results import ResultsError, rows_of_id
from search_spaces.transfer import datasets_of
from search_spaces.trial import Trial, stored_trial
from workers import data
from workers.archive.facts import Emerged
from workers.archive.ledger import Ledger
from workers.data import DataError
from workers.lab.references import Line
from workers.lab.stages import (
    Emerge,
    Evaluate,
    Features,
    Fit,
    Graft,
    Initial,
    Move,
    Prune,
    Redraw,
    Select,
    Stage,
    Train,
)
from workers.settling.distances import Choices
from workers.store import names
from workers.store.backends import Store
from workers.store.objects import Objects


@dataclass(frozen=True)
class Step:
    """A stage of a trial: what it does, whether the store holds it, what it took, and which trials share it."""

    key: str
    does: str
    held: bool
    epochs: int
    seconds: float | None
    shared_by: tuple[str, ...]


@dataclass(frozen=True)
class Explanation:
    trial: Trial
    steps: tuple[Step, ...]
    labels: dict[str, str]
    """Labels of the trials, by id."""


def find_trial(trial_id: str, store: Store) -> tuple[Trial, list[Trial]]:
    """Find a trial by its id. Return it, and all trials of the sweeps that were run in the store.

    Raises:
        ResultsError: if the store does not know the trial.
        StoredError: if its stored spec cannot be read here.
    """
    known = {trial.id: trial for trial in Choices(store).settle(recorded_trials(store))}
    if trial_id not in known:
        rows = rows_of_id(store, trial_id)
        if rows.empty:
            raise ResultsError(
                f"no trial {trial_id!r} in store {store.uri}: it knows {len(known)} trials, of the sweeps that were "
                f"run there; `tombola status SWEEP.yaml --store {shlex.quote(store.uri)}` lists the ids of a sweep"
            )
        known[trial_id] = stored_trial(trial_id, rows["spec"].iloc[0])
    return known[trial_id], list(known.values())


def explain(trial_id: str, store: Store) -> Explanation:
    """Explain a trial: its stages in order, what each took, and which trials share it."""
    trial, known = find_trial(trial_id, store)
    plan = make_plan([other for other in known if other.id == trial_id or _has_data(other)])
    held = take_inventory(plan, store).held
    own = next(planned for planned in plan.trials if planned.trial.id == trial_id)
    steps = []
    position: dict[str, int] = {}
    for key, stage in own.stages.items():
        sharers = tuple(p.trial.id for p in plan.trials if key in p.stages and p.trial.id != trial_id)
        end = _end(stage, store)
        line = stage.line if isinstance(stage, Train | Emerge) else None
        begin = position.get(line.key, line.start) if line else 0
        if line and end is not None:
            position[line.key] = max(begin, end)
        seconds = _seconds(line, begin, end, store) if line and end is not None else None
        epochs = max(end - begin, 0) if end is not None else 0
        steps.append(Step(key, describe(stage, begin), key in held, epochs, seconds, sharers))
    return Explanation(trial, tuple(steps), labels_of(known))


def _has_data(trial: Trial) -> bool:
    """Whether the data of a trial is here. A trial without data cannot be planned, so it is left out."""
    try:
        for dataset in datasets_of(trial):
            data.card(dataset)
    except DataError:
        return False
    return True


def describe(stage: Stage, begin: int) -> str:
    """Describe a stage in words, with the keys of its inputs shortened to 8 digits."""
    match stage:
        case Initial(line, draw):
            small = f", as small as mask {short(line.slim.mask)} makes it by {line.slim.equal}" if line.slim else ""
            return f"initialise{small}" if draw == "initial" else f"initialise afresh ({draw})"
        case Train(line, to):
            assert line.origin is not None
            source = "" if begin > line.start else f" from {short(line.origin.key)}"
            return f"train epochs {begin + 1} to {to}{source} under mask {short(line.mask)}"
        case Prune(_, state, _, by, density):
            return f"prune {short(state.key)} by {by.score} to density {density:.4g}"
        case Emerge(_, line, by, density, _, _, last):
            assert line.origin is not None
            source = short(line.origin.key)
            return (
                f"train from {source} until masks by {by.score} of density {density:.4g} rest, to epoch {last} at most"
            )
        case Redraw(_, mask, how, _):
            return f"redraw mask {short(mask)} by {how}"
        case Move(_, mask, giver, bodies):
            return f"move mask {short(mask)} of {giver.model.title}: {', '.join(bodies)}"
        case Graft(_, source, onto, giver, bodies):
            return f"graft {short(source.key)} of {giver.model.title} onto {short(onto.key)}: {', '.join(bodies)}"
        case Fit(_, network, dataset):
            return f"train classifier {network} on {dataset.name}"
        case Features(_, distances, part, samples):
            return f"take {distances.features} features of {samples} images of {part}"
        case Evaluate(_, state, _, part):
            return f"evaluate {short(state.key)} on {part}"
        case Select(_, candidates, by):
            return f"select the best of {len(candidates)} epochs by {by}"


def short(key: str) -> str:
    """Shorten a key to 8 digits. The key of a state keeps its epoch."""
    line, at, epoch = key.partition("@")
    return f"{line[:8]}{at}{epoch}"


def _end(stage: Stage, store: Store) -> int | None:
    """Epoch up to which a stage trains, or None if it does not train or the epoch is not known yet."""
    if isinstance(stage, Train):
        return stage.to
    fact = Objects(store).read_fact(names.pruning(stage.key), Emerged) if isinstance(stage, Emerge) else None
    return None if fact is None else fact["epoch"]


def _seconds(line: Line, begin: int, end: int, store: Store) -> float | None:
    """Seconds that the epochs after `begin` up to `end` of a line took, or None if a record is missing."""
    ledger = Ledger(Objects(store))
    total = 0.0
    while end > begin:
        record = ledger.ending_at(line.key, end)
        if record is None:
            return None
        total += sum(epoch.seconds for epoch in record.epochs if epoch.number > begin)
        end = record.begin
    return total
