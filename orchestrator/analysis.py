"""Analysis of results: how similar masks are, and how well transferred tickets train.

All functions take tables from `orchestrator.results`, whole or filtered, and return tables.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from orchestrator.labels import variants
from search_spaces.base.plugins import import_plugins
from search_spaces.errors import TombolaError
from search_spaces.models import models

_TRANSFER = "transfer"
_TELLING_APART = ("model", "dataset", "method", "of", "sparsity", "seed_init", "seed_order", "epochs", "rewind")
_FOLLOWING = {"seed_init": ("seed_order",), "method": ("of", "rewind")}
"""Columns that may differ together with another. Options of `model`, `dataset` and `method` may differ with these."""
_OPTIONS = ("model.", "dataset.", "method.", "recipe.", "source.")
_Layers = dict[str, npt.NDArray[np.bool_]]


class AnalysisError(TombolaError):
    """Tables that lack what a function needs, or do not match; the message says what."""


def overlap(masks: pd.DataFrame, first: str, second: str) -> pd.DataFrame:
    """Similarity of the masks of the trials `first` and `second`, compared with chance.

    The table has one row for each role that both masks have, so masks of different models can be compared. The last row
    has the role "all" and sums up all these roles. `both` is the number of weights that both masks keep. `jaccard` is
    the Jaccard index (Jaccard 1912): `both` divided by the number of weights that at least one mask keeps. It is 1 if
    neither mask keeps any weight.

    Chance means two independent random masks that keep the same number of weights in each role. A role has n weights;
    the masks keep k and l of them. The number that both keep is then hypergeometric: its mean is k l / n, its variance
    k l (n - k) (n - l) / (n² (n - 1)). `chance` is the Jaccard index at that mean. `z` is the distance of `both` from
    the mean in standard deviations, or NaN if the standard deviation is 0. For "all", means and variances are summed
    over the roles.

    Raises:
        AnalysisError: if a trial has no mask, if the two have no role in common, or if a common role has different
            shapes.
    """
    layers = _layers(masks[masks["trial_id"].isin([first, second])])
    for trial_id in (first, second):
        if trial_id not in layers:
            raise AnalysisError(f"there is no mask of a trial {trial_id!r} in this table")
    counts = _counts(layers, first, second)
    if not counts:
        raise AnalysisError(f"trials {first} and {second} have no role in common")
    by_role = [{"role": role, **_overlap(of_role)} for role, of_role in counts.items()]
    return pd.DataFrame([*by_role, {"role": "all", **_overlap(*counts.values())}])


def density(masks: pd.DataFrame, trials: pd.DataFrame) -> pd.DataFrame:
    """Fraction of weights that masks keep, by role, in the order of the network's tensors.

    Mean and standard deviation are over `seeds` trials: those with the same variant, model, method, finder `of` and
    sparsity. How a trial was evaluated makes no difference. The standard deviation of a single trial is NaN.
    """
    told_apart = ["variant", "model", "method", "of", "sparsity"]
    known = trials.drop_duplicates("trial_id")
    specs = [json.loads(spec) for spec in known["spec"]]
    unmeasured = [{name: value for name, value in spec.items() if name != "evaluation"} for spec in specs]
    known = known.assign(variant=variants(unmeasured))[["trial_id", *told_apart]]
    rows = masks.assign(density=masks["kept"] / masks["weights"]).merge(known, on="trial_id")
    # A stable sort and unsorted groups keep the roles in the order of the masks.
    groups = rows.sort_values(told_apart, kind="stable").groupby([*told_apart, "role"], sort=False, dropna=False)
    return groups["density"].agg(density_mean="mean", density_std="std", seeds="size").reset_index()


def agreement(masks: pd.DataFrame, trials: pd.DataFrame, across: str) -> pd.DataFrame:
    """Similarity of masks from pairs of trials that differ only in the column `across`.

    The table has one row for each two values of that column, `first` < `second`, and each sparsity. If `across` is the
    sparsity itself, the row has the sparsity of `first`. `jaccard` and `chance` are means over pairs of trials, for
    all roles together, as in `overlap`. `pairs` is the number of these pairs.

    Both trials of a pair are done, have masks that remove weights, and have a role in common. They have the same model,
    data set, method, finder `of`, sparsity, seeds, epochs, rewind epoch and options. If `across` is `seed_init`,
    `seed_order` may differ too. If `across` is `model`, `dataset` or `method`, its options may differ too; for
    `method`, also `of` and the rewind epoch. To ignore another column, make it equal first, as in
    `trials.assign(rewind=0)`.

    Raises:
        AnalysisError: if there is no such column, or if two trials of a pair have a role in different shapes.
    """
    if across not in trials:
        raise AnalysisError(f"there is no column {across!r} in the table of trials")
    done = trials[trials["status"] == "done"].drop_duplicates("trial_id")
    pairs = _pairs(done[done["trial_id"].isin(_pruned(masks))], across)
    layers = _layers(masks[masks["trial_id"].isin([*pairs["one"], *pairs["other"]])])
    compared = [
        {**pair, **_overlap(*counts.values())}
        for pair in pairs.to_dict("records")
        if (counts := _counts(layers, pair["one"], pair["other"]))
    ]
    found = pd.DataFrame(compared, columns=["first", "second", "sparsity", "jaccard", "chance"])
    groups = found.groupby(["first", "second", "sparsity"])
    return groups.agg(pairs=("jaccard", "size"), jaccard=("jaccard", "mean"), chance=("chance", "mean")).reset_index()


def transfer_matrix(trials: pd.DataFrame, metric: str, *, method: str = _TRANSFER) -> pd.DataFrame:
    """Mean of `metric` over transferred tickets, by their source and their target.

    Rows are the source's model and data set, and the sparsity. Columns are the target's model and data set. The data
    set of an imported ticket is unknown; the table calls it "imported". `method` is `transfer` or one of its controls.

    Raises:
        AnalysisError: if there is no such column, or no done trial of this method has a value there. Also if the model
            of a source is unknown here (its plugin may be missing), or if one cell has several variants, which have no
            common mean.
    """
    if metric not in trials:
        raise AnalysisError(f"there is no column {metric!r} in the table of trials")
    transferred = trials["of"].fillna(trials["method"]) == _TRANSFER
    rows = trials[transferred & (trials["method"] == method) & (trials["status"] == "done")]
    if rows[metric].isna().all():
        raise AnalysisError(
            f"no trial of method {method!r} that transfers a ticket and is done has a value of {metric!r}"
        )
    source_model, source_dataset = zip(*map(_source, rows["spec"]), strict=True)
    placed = rows.rename(columns={"model": "target_model", "dataset": "target_dataset"}).assign(
        source_model=source_model, source_dataset=source_dataset
    )
    sources, targets = ["source_model", "source_dataset", "sparsity"], ["target_model", "target_dataset"]
    for _, alike in placed.groupby([*sources, *targets])["variant"]:
        if alike.nunique() > 1:
            several = " and ".join(repr(variant) for variant in alike.unique()[:2])
            raise AnalysisError(f"there are several variants of one transfer, {several}: choose among the trials first")
    return placed.pivot_table(metric, sources, targets)


class _Counts(NamedTuple):
    """Number of weights of a role, and how many of them the first mask, the second mask and both keep."""

    weights: int
    first: int
    second: int
    both: int

    @property
    def mean(self) -> float:
        """Mean of the number that both masks keep by chance (hypergeometric distribution)."""
        return self.first * self.second / self.weights

    @property
    def variance(self) -> float:
        """Variance of the same number."""
        removed = (self.weights - self.first) * (self.weights - self.second)
        # With a single weight the formula is 0 / 0; nothing is left to chance, so the variance is 0.
        return self.mean * removed / (self.weights * max(self.weights - 1, 1))


def _layers(masks: pd.DataFrame) -> dict[str, _Layers]:
    """Boolean arrays of the kept weights, by trial and role."""
    # Imported here because a mask is made of torch tensors, which nothing else in this module needs.
    from workers.masks import Mask

    layers: dict[str, _Layers] = {}
    for trial_id, role, packed in zip(masks["trial_id"], masks["role"], masks["mask"], strict=True):
        (kept,) = Mask.unpack(packed).values()
        layers.setdefault(trial_id, {})[role] = kept.numpy()
    return layers


def _counts(layers: Mapping[str, _Layers], first: str, second: str) -> dict[str, _Counts]:
    """Counts of the kept weights of two trials, for each role that both have."""
    counts = {}
    for role, kept in layers[first].items():
        if (other := layers[second].get(role)) is None:
            continue
        if kept.shape != other.shape:
            raise AnalysisError(
                f"trials {first} and {second} have role {role!r} in different shapes: {kept.shape} and {other.shape}"
            )
        counts[role] = _Counts(kept.size, *(int(np.count_nonzero(each)) for each in (kept, other, kept & other)))
    return counts


def _overlap(*roles: _Counts) -> dict[str, float]:
    """Figures of `overlap` for one role, or for several roles together."""
    weights, first, second, both = map(sum, zip(*roles, strict=True))
    mean = math.fsum(counts.mean for counts in roles)
    deviation = math.sqrt(math.fsum(counts.variance for counts in roles))
    return {
        "weights": weights,
        "kept_first": first,
        "kept_second": second,
        "both": both,
        "jaccard": _jaccard(first, second, both),
        "chance": _jaccard(first, second, mean),
        "z": (both - mean) / deviation if deviation else math.nan,
    }


def _jaccard(first: int, second: int, both: float) -> float:
    either = first + second - both
    return both / either if either else 1.0


def _pruned(masks: pd.DataFrame) -> pd.Index:
    """Ids of the trials whose masks remove at least one weight."""
    totals = masks.groupby("trial_id")[["weights", "kept"]].sum()
    return totals.index[totals["kept"] < totals["weights"]]


def _pairs(trials: pd.DataFrame, across: str) -> pd.DataFrame:
    """Pairs of trials, `one` and `other`, that differ only in `across`, with its values `first` and `second`."""
    options = [
        column
        for column in map(str, trials.columns)
        if column.startswith(_OPTIONS) and not column.startswith(f"{across}.")
    ]
    equal = [each for each in (*_TELLING_APART, *options) if each not in {across, *_FOLLOWING.get(across, ())}]
    ones = trials[equal].assign(one=trials["trial_id"], first=trials[across], sparsity=trials["sparsity"])
    others = trials[equal].assign(other=trials["trial_id"], second=trials[across])
    pairs = ones.merge(others, on=equal)
    return pairs[pairs["first"] < pairs["second"]]


def _source(spec: str) -> tuple[str, str]:
    """Model and data set of the source of a transfer, or of a control of a transfer."""
    trial = json.loads(spec)
    source = trial["method"].get("of", trial["method"])["source"]
    given = source.get("trial") or {**source["imported"], "dataset": {"name": "imported"}}
    try:
        import_plugins(trial.get("plugins"))
        return models.parse(given["model"]).title, given["dataset"]["name"]
    except ValueError as error:
        raise AnalysisError(f"the source of a ticket is not understood here: {error}") from error
