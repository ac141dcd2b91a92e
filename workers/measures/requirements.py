"""Requirements of a trial on its data set and its model, checked before any training."""

from __future__ import annotations

from search_spaces.errors import TombolaError
from search_spaces.trial import Evaluation, Trial
from workers.data.reading.card import DatasetCard
from workers.measures.feature_spaces import SPACES, Features
from workers.measures.metrics import METRICS, distance_metrics


class TooFewImagesError(TombolaError):
    """A trial asks for more images than its data set has."""


class DemandError(TombolaError):
    """A trial asks for a measurement that its model or its data set does not allow."""


def check_demands(trial: Trial, card: DatasetCard) -> None:
    """Check that a trial can be trained and measured as it asks.

    Raises:
        TooFewImagesError: if it needs more images than its data set has.
        DemandError: if another requirement is not met.
    """
    _check_images(trial, card)
    if trial.evaluation.downstream and not card.classes:
        raise DemandError(f"evaluation.downstream: {trial.dataset.name} has no labels to train a classifier on")
    features = trial.evaluation.distances.features
    if features in SPACES and (problem := wrong_channels(trial, card, features)):
        raise DemandError(f"evaluation.distances: {problem}")
    if trial.evaluation.selection:
        selected_by(trial)


def wrong_channels(trial: Trial, card: DatasetCard, features: Features) -> str | None:
    """Say why these features do not fit the images of a trial; None if they do."""
    for_channels = SPACES[features].channels
    if card.image[0] in for_channels:
        return None
    return f"{features} is for images of {for_channels[0]} channel, {trial.dataset.name} has {card.image[0]}"


def selected_by(trial: Trial) -> str:
    """Return the metric by which the best epoch of a trial is selected.

    Raises:
        DemandError: if there is no such metric, or the trial does not measure it.
    """
    selection, model = trial.evaluation.selection, trial.model
    assert selection is not None
    own = [name for name, metric in METRICS.items() if metric.given is None]
    candidates = (*distance_metrics(trial.evaluation.distances.features), "elbo", *own)
    known = [name for name in candidates if METRICS[name].best and model.family in METRICS[name].of]
    by = selection.by or next(iter(known), None)
    if by is None:
        raise DemandError(f"evaluation.selection: without distances a {model.name} has nothing to be selected by")
    if by not in known:
        there = ", ".join(dict.fromkeys(known)) or "nothing"
        raise DemandError(f"evaluation.selection.by: {by!r} is not measured there on a {model.name}; known: {there}")
    return by


def _check_images(trial: Trial, card: DatasetCard) -> None:
    batch, evaluation, name = trial.recipe.batch, trial.evaluation, trial.dataset.name
    looked_at = trial.finder.criterion.images if trial.finder else None
    if looked_at and looked_at > card.train:
        raise TooFewImagesError(
            f"method {trial.method.name!r}: images: {looked_at} is more than the {card.train} training images of {name}"
        )
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
    """Return the field that sets the number of held-out images that metrics are reported on, and that number."""
    if evaluation.distances.features == "none" or _from_training(evaluation):
        return "evaluation.samples", evaluation.samples
    return max(
        ("evaluation.samples", evaluation.samples),
        ("evaluation.distances.samples", evaluation.compared),
        key=lambda f: f[1],
    )
