"""Downloads: what a sweep names and is missing here, fetched before anything else looks for it."""

from __future__ import annotations

from search_spaces.datasets import FashionMNIST
from search_spaces.sweep import Sweep
from search_spaces.transfer import Transfer
from workers import data, weights
from workers.data import DataError
from workers.data.download import download


def fetch_missing(sweep: Sweep) -> None:
    """Download the data sets, and the weights, that a sweep names and that are not on this machine.

    Raises:
        DataError: if a data set cannot be had.
        WeightsError: if weights cannot be had.
    """
    trials = sweep.trials()
    features = {trial.evaluation.distances.features for trial in trials}
    finders = (trial.finder for trial in trials)
    sources = {f.source.trial.dataset for f in finders if isinstance(f, Transfer) and f.source.trial}
    for dataset in {*sweep.datasets, *sources, *([FashionMNIST()] if "fashion" in features else [])}:
        try:
            data.card(dataset)
        except DataError:
            download(dataset)
    if "inception" in features and weights.find("inception") is None:
        weights.download("inception")
