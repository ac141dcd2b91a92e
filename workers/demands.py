"""Demands: what a trial asks of its data set and its model, checked before anything trains."""

from __future__ import annotations

from search_spaces.errors import TombolaError
from search_spaces.trial import Evaluation, Trial
from workers.data.card import DatasetCard
from workers.metrics import METRICS, distance_metrics


class TooFewImagesError(TombolaError):
    """A trial asks for more images than its data set has."""


class DemandError(TombolaError):
    """A trial asks for a measure that its model or its data set does not have."""


def check_demands(trial: Trial, card: DatasetCard) -> None:
    """Check that a trial can be measured as it asks.

    Raises:
        TooFewImagesError: if it takes more images than there are.
        DemandError: if something else is missing.
    """
    _check_images(trial, card)
    if trial.evaluation.downstream and not card.classes:
        raise DemandError(f"evaluation.downstream: {trial.dataset.name} has no labels to train a classifier on")
    if trial.evaluation.selection:
        selected_by(trial)


def selected_by(trial: Trial) -> str:
    """The metric by which the best epoch of a trial is selected.

    Raises:
        DemandError: if there is none, or it is not measured.
    """
    evaluation, field = trial.evaluation, "evaluation.selection.by"
    assert evaluation.selection is not None
    measured = distance_metrics(evaluation.distances.features)
    by = evaluation.selection.by or next(iter(measured), trial.model.selected_by)
    if by is None:
        raise DemandError(f"{field}: without distances a {trial.model.name} has nothing to be selected by")
    metric = METRICS.get(by)
    if metric is None or metric.best is None:
        known = ", ".join(name for name, metric in METRICS.items() if metric.best)
        raise DemandError(f"{field}: {by!r} is no metric to select by; known: {known}")
    if by in {*distance_metrics("inception"), *distance_metrics("fashion")} - set(measured):
        raise DemandError(
            f"{field}: {by} is not measured; evaluation.distances.features is {evaluation.distances.features}"
        )
    return by


def _check_images(trial: Trial, card: DatasetCard) -> None:
    batch, evaluation, name = trial.recipe.batch, trial.evaluation, trial.dataset.name
    if batch > card.train:
        raise TooFewImagesError(f"recipe.batch: {batch} is more than the {card.train} training images of {name}")
    compared = evaluation.compared
    if _from_training(evaluation) and compared > card.train:
        raise TooFewImagesError(
            f"evaluation.distances.samples: {compared} is more than the {card.train} training images of {name}"
        )
    field, reported = _reported_on(evaluation)
    if reported > card.held_out:
        raise TooFewImagesError(f"{field}: {reported} is more than the {card.held_out} held-out images of {name}")
    if evaluation.selection and reported + evaluation.selection.samples > card.held_out:
        raise TooFewImagesError(
            f"evaluation.selection.samples: {evaluation.selection.samples} for selection and {reported} to report on "
            f"are more than the {card.held_out} held-out images of {name}"
        )


def _from_training(evaluation: Evaluation) -> bool:
    return evaluation.distances.features != "none" and evaluation.distances.reference == "train"


def _reported_on(evaluation: Evaluation) -> tuple[str, int]:
    """How many held-out images metrics are reported on, and which field says so."""
    if evaluation.distances.features == "none" or _from_training(evaluation):
        return "evaluation.samples", evaluation.samples
    return max(
        ("evaluation.samples", evaluation.samples),
        ("evaluation.distances.samples", evaluation.compared),
        key=lambda f: f[1],
    )
