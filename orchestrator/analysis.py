"""What masks have in common, and how well tickets fare where they were not found.

All functions take tables that `orchestrator.results` reads from a store, whole or filtered, and return tables.
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
"""What differs, too, wherever a column does; and so do the options of a model, data set or method."""
_OPTIONS = ("model.", "dataset.", "method.", "recipe.", "source.")
_Layers = dict[str, npt.NDArray[np.bool_]]


class AnalysisError(TombolaError):
    """Tables that do not hold what is asked of them; the message says what is missing, or does not match."""


def overlap(masks: pd.DataFrame, first: str, second: str) -> pd.DataFrame:
    """How much the masks of the trials `first` and `second` have in common, beside what chance would have.

    One row for each role that both have, by which networks of different models can be compared, and a last one with
    the role "all". `both` is the number of weights that both keep, `jaccard` its fraction of those that either keeps,
    1 if neither keeps any (Jaccard 1912).

    Chance are independent masks, drawn without regard to anything but how many weights each keeps in each role. Of n
    weights of which one keeps k and the other l, the number that both keep is hypergeometric: its mean is k l / n, its
    variance k l (n - k) (n - l) / (n² (n - 1)). `chance` is the Jaccard index at that mean, `z` the distance of `both`
    from it in standard deviations, NaN where nothing can vary. Of "all", means and variances are the sums over roles.

    Raises:
        AnalysisError: if a trial has no mask, the two have no role in common, or one in different shapes.
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
    """The fraction of weights that is kept, by role, in the order in which a network has them.

    Mean and standard deviation are over `seeds` trials: all that variant, model, method, finder `of`, sparsity and role
    do not tell apart, however they were measured. The standard deviation of one is NaN.
    """
    told_apart = ["variant", "model", "method", "of", "sparsity"]
    known = trials.drop_duplicates("trial_id")
    specs = [json.loads(spec) for spec in known["spec"]]
    unmeasured = [{name: value for name, value in spec.items() if name != "evaluation"} for spec in specs]
    known = known.assign(variant=variants(unmeasured))[["trial_id", *told_apart]]
    rows = masks.assign(density=masks["kept"] / masks["weights"]).merge(known, on="trial_id")
    # The sort is stable and groups stay as they come, so that roles keep the order of the masks.
    groups = rows.sort_values(told_apart, kind="stable").groupby([*told_apart, "role"], sort=False, dropna=False)
    return groups["density"].agg(density_mean="mean", density_std="std", seeds="size").reset_index()


def agreement(masks: pd.DataFrame, trials: pd.DataFrame, across: str) -> pd.DataFrame:
    """How much masks have in common whose trials differ in the column `across` alone.

    One row for each two values of that column, `first` < `second`, and each sparsity (across sparsities that of
    `first`), with the means over `pairs` of trials of what `overlap` says of all their roles.

    The trials of a pair are done, have masks that leave something out and a role in common, and are equal in model,
    data set, method, finder `of`, sparsity, seeds, epochs, rewind epoch and all options. Across `seed_init` their
    `seed_order` may differ as well; across models, data sets and methods, their options. Where more may differ, make it
    equal beforehand, as in `trials.assign(rewind=0)`.

    Raises:
        AnalysisError: if there is no such column, or two trials of a pair have a role in different shapes.
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
    """The mean of `metric` over tickets that were found in one place and trained in another.

    Rows are the source's model and data set, and the sparsity; columns are the target's model and data set. The data
    set of an imported ticket is unknown, and called "imported". `method` is `transfer` or a control of it.

    Raises:
        AnalysisError: if there is no such column, none of those trials that are done has a value there, a source's
            model is not known here, as where its plugin is missing, or trials of one place have several variants, which
            have no common mean.
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
    """How many weights a role has, and how many of them two masks keep, each by itself and both of them."""

    weights: int
    first: int
    second: int
    both: int

    @property
    def mean(self) -> float:
        """The number that both would keep by chance: the mean of the hypergeometric distribution."""
        return self.first * self.second / self.weights

    @property
    def variance(self) -> float:
        """The variance of the same."""
        removed = (self.weights - self.first) * (self.weights - self.second)
        # A single weight leaves nothing to chance, and the formula with 0 / 0.
        return self.mean * removed / (self.weights * max(self.weights - 1, 1))


def _layers(masks: pd.DataFrame) -> dict[str, _Layers]:
    """By trial and role the weights that are kept."""
    # Imported here because a mask is made of torch tensors, which nothing else in this module needs.
    from workers.masks import Mask

    layers: dict[str, _Layers] = {}
    for trial_id, role, packed in zip(masks["trial_id"], masks["role"], masks["mask"], strict=True):
        (kept,) = Mask.unpack(packed).values()
        layers.setdefault(trial_id, {})[role] = kept.numpy()
    return layers


def _counts(layers: Mapping[str, _Layers], first: str, second: str) -> dict[str, _Counts]:
    """By role what two trials keep, for the roles that both have."""
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
    """What is said of a number of roles taken together."""
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
    """The trials whose masks leave something out."""
    totals = masks.groupby("trial_id")[["weights", "kept"]].sum()
    return totals.index[totals["kept"] < totals["weights"]]


def _pairs(trials: pd.DataFrame, across: str) -> pd.DataFrame:
    """The trials `one` and `other` that differ in `across` alone, with its values `first` and `second`."""
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
    """The model and data set that the ticket of a transfer, or of a control of one, is from."""
    trial = json.loads(spec)
    source = trial["method"].get("of", trial["method"])["source"]
    given = source.get("trial") or {**source["imported"], "dataset": {"name": "imported"}}
    try:
        import_plugins(trial.get("plugins"))
        return models.parse(given["model"]).title, given["dataset"]["name"]
    except ValueError as error:
        raise AnalysisError(f"the source of a ticket is not understood here: {error}") from error
