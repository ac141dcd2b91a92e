"""Downloads: data sets and weights that a sweep names and this machine lacks."""

from __future__ import annotations

from search_spaces.datasets import FashionMNIST
from search_spaces.sweep import Sweep
from search_spaces.transfer import datasets_of
from workers import data
from workers.data import DataError
from workers.data.download import download
from workers.measures import pretrained as weights


def fetch_missing(sweep: Sweep) -> None:
    """Download the data sets and weights that a sweep names and this machine lacks.

    Raises:
        DataError: if a data set cannot be downloaded.
        WeightsError: if weights cannot be downloaded.
    """
    trials = sweep.trials()
    features = {trial.evaluation.distances.features for trial in trials}
    named = dict.fromkeys(dataset for trial in trials for dataset in datasets_of(trial))
    for dataset in (*named, *([FashionMNIST()] if "fashion" in features else [])):
        try:
            data.card(dataset)
        except DataError:
            download(dataset)
    if "inception" in features and weights.find("inception") is None:
        weights.download("inception")
