import json
import math
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import torch
from scipy import stats

from orchestrator import results
from orchestrator.analysis import AnalysisError, agreement, density, overlap, transfer_matrix
from tests.toys import toy_trial, toy_trials
from workers.masks import Mask
from workers.store.backends import Store, open_store
from workers.trial import run_trial

METHODS = ["dense", "imp", "shuffle_layer", "random_global"]
VAE, DCGAN = toy_trial("vae"), toy_trial("dcgan")
SHARED = [*(f"encode.down{i}" for i in (1, 2, 3)), *(f"decode.up{i}" for i in (3, 2, 1))]

Layers = Mapping[str, npt.NDArray[np.bool_]]


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A sweep of one model with two seeds, and one trial each of two models that share roles."""
    store = open_store(str(tmp_path_factory.mktemp("swept")))
    for trial in (*toy_trials(methods=METHODS, sparsities=[0.488, 0.5904], seeds=2), VAE, DCGAN):
        run_trial(trial, store)
    return store


@pytest.fixture(scope="module")
def masks(swept: Store) -> pd.DataFrame:
    return results.masks(swept.uri)


@pytest.fixture(scope="module")
def trials(swept: Store) -> pd.DataFrame:
    return results.trials(swept.uri)


def only(trials: pd.DataFrame, **wanted: Any) -> str:
    """The id of the one trial of the linear autoencoder, of seed 0 unless told otherwise, that is wanted."""
    for column, value in {"model": "linear_autoencoder", "seed_init": 0, **wanted}.items():
        trials = trials[trials[column] == value]
    (trial_id,) = trials["trial_id"]
    assert isinstance(trial_id, str)
    return trial_id


def masks_of(**by_trial: Layers) -> pd.DataFrame:
    """A table of masks; roles are not the names of tensors."""
    return pd.DataFrame(
        {
            "trial_id": trial_id,
            "parameter": f"{trial_id}.{role}",
            "role": role,
            "shape": list(kept.shape),
            "weights": kept.size,
            "kept": int(kept.sum()),
            "mask": Mask({f"{trial_id}.{role}": torch.from_numpy(kept)}).pack(),
        }
        for trial_id, layers in by_trial.items()
        for role, kept in layers.items()
    )


def trials_of(**by_trial: Mapping[str, Any]) -> pd.DataFrame:
    """A table of finished trials that are equal but for what is given."""
    common = {"model": "m", "dataset": "d", "method": "imp", "of": None, "sparsity": 0.5, "status": "done"}
    common |= {"variant": "", "seed_init": 0, "seed_order": 0, "epochs": 4, "rewind": 1}
    return pd.DataFrame({"trial_id": trial_id, **common, **columns} for trial_id, columns in by_trial.items())


def kept(*bits: int) -> npt.NDArray[np.bool_]:
    return np.array(bits, dtype=np.bool_)


def drawn(draws: np.random.Generator, kept: int, weights: int) -> npt.NDArray[np.bool_]:
    return draws.permutation(np.arange(weights) < kept)


def test_the_overlap_of_two_masks_is_that_of_the_masks_in_the_store(
    swept: Store, masks: pd.DataFrame, trials: pd.DataFrame
) -> None:
    ids = [only(trials, method=method, sparsity=0.488) for method in ("imp", "random_global")]
    one, other = (results.mask(swept.uri, trial_id) for trial_id in ids)
    found = overlap(masks, *ids)
    whole = found.iloc[-1]
    assert list(found["role"]) == [*masks[masks["trial_id"] == ids[0]]["role"], "all"]
    assert whole["jaccard"] == one.jaccard(other)
    assert (whole["weights"], whole["kept_first"], whole["kept_second"]) == (one.size, one.kept, other.kept)
    assert list(found["both"][:-1]) == [int((one[name] & other[name]).sum()) for name in one]


def test_a_vae_and_a_gan_are_compared_by_roles(swept: Store, masks: pd.DataFrame) -> None:
    vae, gan = (results.mask(swept.uri, trial.id) for trial in (VAE, DCGAN))
    found = overlap(masks, VAE.id, DCGAN.id).set_index("role")
    assert list(found.index) == [*(f"{stage}.conv.weight" for stage in SHARED), "all"]
    ours, theirs = vae["decoder.up2.conv.weight"], gan["generator.up2.conv.weight"]
    assert found.loc["decode.up2.conv.weight", "both"] == int((ours & theirs).sum())
    assert found.loc["all", "weights"] == sum(found["weights"][:-1])


def test_a_mask_shuffled_within_layers_has_as_much_in_common_as_chance(
    masks: pd.DataFrame, trials: pd.DataFrame
) -> None:
    ids = [only(trials, method=method, sparsity=0.488) for method in ("imp", "shuffle_layer")]
    found = overlap(masks, *ids)
    assert (found["kept_first"] == found["kept_second"]).all()
    assert (found["z"].abs() < 4).all()
    assert found["jaccard"].iloc[-1] == pytest.approx(found["chance"].iloc[-1], abs=0.02)


def test_a_mask_that_lies_within_another_has_more_in_common_with_it_than_chance(
    masks: pd.DataFrame, trials: pd.DataFrame
) -> None:
    sparse, sparser = (only(trials, method="imp", sparsity=sparsity) for sparsity in (0.488, 0.5904))
    whole = overlap(masks, sparse, sparser).iloc[-1]
    assert whole["both"] == whole["kept_second"]
    assert whole["z"] > 10


def test_z_is_that_of_the_hypergeometric_distribution() -> None:
    draws = np.random.default_rng(1)
    sizes = {"a": (60, 20, 30), "b": (11, 10, 3)}
    first = {role: drawn(draws, k, n) for role, (n, k, _) in sizes.items()}
    second = {role: drawn(draws, k, n) for role, (n, _, k) in sizes.items()}
    found = overlap(masks_of(one=first, other=second), "one", "other").set_index("role")
    chance = {role: stats.hypergeom(*size) for role, size in sizes.items()}
    for role in sizes:
        expected = (found.loc[role, "both"] - chance[role].mean()) / chance[role].std()
        assert found.loc[role, "z"] == pytest.approx(expected)
    surplus = sum(found.loc[role, "both"] - chance[role].mean() for role in sizes)
    assert found.loc["all", "z"] == pytest.approx(surplus / math.sqrt(sum(c.var() for c in chance.values())))


def test_chance_is_what_random_masks_of_the_same_layer_densities_have_in_common() -> None:
    draws = np.random.default_rng(2)
    sizes = {"a": (3000, 900, 1500), "b": (1000, 50, 800)}
    indices = []
    for _ in range(200):
        pairs = [(drawn(draws, k, n), drawn(draws, other, n)) for n, k, other in sizes.values()]
        indices.append(sum((a & b).sum() for a, b in pairs) / sum((a | b).sum() for a, b in pairs))
    one = {role: drawn(draws, k, n) for role, (n, k, _) in sizes.items()}
    other = {role: drawn(draws, k, n) for role, (n, _, k) in sizes.items()}
    whole = overlap(masks_of(one=one, other=other), "one", "other").iloc[-1]
    assert whole["chance"] == pytest.approx(np.mean(indices), abs=5 * np.std(indices) / math.sqrt(len(indices)))


@pytest.mark.parametrize(
    ("first", "second", "jaccard"),
    [
        (kept(1, 1, 1), kept(1, 0, 0), 1 / 3),
        (kept(0, 0, 0), kept(1, 0, 0), 0),
        (kept(0, 0, 0), kept(0, 0, 0), 1),
        (kept(1), kept(1), 1),
    ],
)
def test_where_nothing_can_vary_chance_is_certain_and_z_is_not_a_number(
    first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_], jaccard: float
) -> None:
    whole = overlap(masks_of(one={"a": first}, other={"a": second}), "one", "other").iloc[-1]
    assert whole["jaccard"] == whole["chance"] == pytest.approx(jaccard)
    assert math.isnan(whole["z"])


def test_what_cannot_be_compared_is_told_in_one_sentence() -> None:
    masks = masks_of(one={"a": kept(1, 0)}, wide={"a": kept(1, 0, 1)}, apart={"b": kept(1, 0)})
    with pytest.raises(AnalysisError, match=r"role 'a' in different shapes: \(2,\) and \(3,\)"):
        overlap(masks, "one", "wide")
    with pytest.raises(AnalysisError, match="one and apart have no role in common"):
        overlap(masks, "one", "apart")
    with pytest.raises(AnalysisError, match="no mask of a trial 'nope'"):
        overlap(masks, "one", "nope")


def test_densities_by_role_are_means_over_seeds_in_the_order_of_the_network(
    swept: Store, masks: pd.DataFrame, trials: pd.DataFrame
) -> None:
    found = density(masks, trials).query("method == 'imp' and sparsity == 0.488 and model == 'linear_autoencoder'")
    seeds = [results.mask(swept.uri, only(trials, method="imp", sparsity=0.488, seed_init=seed)) for seed in (0, 1)]
    by_name = [[float(mask[name].double().mean()) for mask in seeds] for name in seeds[0]]
    assert list(found["role"]) == [name.replace("coder.", "code.") for name in seeds[0]]
    assert list(found["density_mean"]) == pytest.approx([np.mean(each) for each in by_name])
    assert list(found["density_std"]) == pytest.approx([np.std(each, ddof=1) for each in by_name])
    assert set(found["seeds"]) == {2}


def test_densities_are_means_over_seeds_however_trials_were_measured(masks: pd.DataFrame, trials: pd.DataFrame) -> None:
    def measured(spec: str, samples: int) -> str:
        return json.dumps({**json.loads(spec), "evaluation": {"samples": samples}})

    again = [trials.assign(spec=[measured(spec, samples) for spec in trials["spec"]]) for samples in (50, 60)]
    once = trials["seed_init"] == 0
    twice = pd.concat([again[0][once], again[1]])
    assert set(density(masks, twice)["seeds"]) == set(density(masks, trials)["seeds"])


def test_densities_of_finders_and_of_controls_are_told_apart(masks: pd.DataFrame, trials: pd.DataFrame) -> None:
    found = density(masks, trials)
    assert list(found.columns) == [
        *("variant", "model", "method", "of", "sparsity", "role"),
        *("density_mean", "density_std", "seeds"),
    ]
    toys = found[found["model"] == "linear_autoencoder"].set_index(["method", "sparsity", "role"])["density_mean"]
    assert (toys["dense"] == 1).all()
    assert toys["shuffle_layer"].to_dict() == toys["imp"].to_dict()
    assert toys["random_global"].to_dict() != toys["imp"].to_dict()


def test_agreement_across_seeds_is_that_of_their_masks(masks: pd.DataFrame, trials: pd.DataFrame) -> None:
    found = agreement(masks, trials[trials["method"] == "imp"], "seed_init")
    assert list(found.columns) == ["first", "second", "sparsity", "pairs", "jaccard", "chance"]
    assert list(found["sparsity"]) == [0.488, 0.5904]
    for _, row in found.iterrows():
        assert (row["first"], row["second"], row["pairs"]) == (0, 1, 1)
        ids = [only(trials, method="imp", sparsity=row["sparsity"], seed_init=seed) for seed in (0, 1)]
        whole = overlap(masks, *ids).iloc[-1]
        assert (row["jaccard"], row["chance"]) == (whole["jaccard"], whole["chance"])


def test_agreement_across_methods_is_a_mean_over_seeds(masks: pd.DataFrame, trials: pd.DataFrame) -> None:
    found = agreement(masks, trials, "method").set_index(["first", "second", "sparsity"])
    row = found.loc["random_global", "shuffle_layer", 0.488]
    each = [
        overlap(masks, *(only(trials, method=m, sparsity=0.488, seed_init=seed) for m in METHODS[2:])).iloc[-1]
        for seed in (0, 1)
    ]
    assert row["pairs"] == 2
    assert row["jaccard"] == pytest.approx(np.mean([whole["jaccard"] for whole in each]))
    assert row["chance"] == pytest.approx(np.mean([whole["chance"] for whole in each]))


def test_what_trials_differ_in_can_be_made_equal_beforehand(masks: pd.DataFrame, trials: pd.DataFrame) -> None:
    found = agreement(masks, trials.assign(of="imp"), "method")
    assert set(zip(found["first"], found["second"], strict=True)) == {
        ("imp", "random_global"),
        ("imp", "shuffle_layer"),
        ("random_global", "shuffle_layer"),
    }


def test_agreement_across_models_is_over_the_roles_that_they_share(masks: pd.DataFrame, trials: pd.DataFrame) -> None:
    (row,) = agreement(masks, trials, "model").to_dict("records")
    assert (row["first"], row["second"], row["pairs"]) == ("dcgan", "vae", 1)
    assert row["jaccard"] == overlap(masks, VAE.id, DCGAN.id)["jaccard"].iloc[-1]


def test_agreement_across_sparsities_is_of_masks_that_lie_in_each_other(
    masks: pd.DataFrame, trials: pd.DataFrame
) -> None:
    (row,) = agreement(masks, trials[trials["method"] == "imp"], "sparsity").to_dict("records")
    assert (row["first"], row["second"], row["sparsity"], row["pairs"]) == (0.488, 0.5904, 0.488, 2)
    assert row["jaccard"] == pytest.approx(0.4096 / 0.512, abs=1e-3)


def test_agreement_is_of_pruned_masks_of_done_trials_with_roles_in_common_and_counts_a_trial_once() -> None:
    masks = masks_of(
        **{name: {"a": kept(1, 0, 1)} for name in ("one", "other", "failed")},
        dense={"a": kept(1, 1, 1)},
        apart={"b": kept(1, 0, 1)},
    )
    trials = trials_of(
        one={"method": "imp"},
        other={"method": "snip"},
        failed={"method": "grasp", "status": "failed"},
        dense={"method": "synflow"},
        apart={"method": "magnitude"},
    )
    (row,) = agreement(masks, pd.concat([trials, trials]), "method").to_dict("records")
    assert (row["first"], row["second"], row["pairs"], row["jaccard"]) == ("imp", "snip", 1, 1.0)


def test_seeds_agree_only_between_trials_that_are_otherwise_equal() -> None:
    masks = masks_of(**{name: {"a": kept(1, 0)} for name in ("one", "order", "longer")})
    trials = trials_of(one={}, order={"seed_init": 1, "seed_order": 1}, longer={"seed_init": 2, "epochs": 5})
    assert list(agreement(masks, trials, "seed_init")["second"]) == [1]
    assert agreement(masks, trials, "seed_order").empty


def test_agreement_tells_of_columns_and_shapes_that_do_not_match() -> None:
    masks = masks_of(one={"a": kept(1, 0)}, wide={"a": kept(1, 0, 1)})
    trials = trials_of(one={}, wide={"seed_init": 1})
    with pytest.raises(AnalysisError, match="no column 'colour'"):
        agreement(masks, trials, "colour")
    with pytest.raises(AnalysisError, match="one and wide have role 'a' in different shapes"):
        agreement(masks, trials, "seed_init")


def test_agreement_of_many_trials_takes_seconds() -> None:
    draws = np.random.default_rng(3)
    layers = {f"role{i}": drawn(draws, 20_000, 100_000) for i in range(10)}
    one = masks_of(any=layers)
    masks = pd.concat([one.assign(trial_id=f"trial{i}") for i in range(60)])
    trials = trials_of(**{f"trial{i}": {"seed_init": i} for i in range(60)})
    begun = time.process_time()
    assert len(agreement(masks, trials, "seed_init")) == 60 * 59 / 2
    assert time.process_time() - begun < 10


def transferred(source: Mapping[str, Any], to: str, value: float, **columns: Any) -> dict[str, Any]:
    spec = {"method": {"name": "transfer", "source": source}}
    return {"method": "transfer", "model": to, "dataset": "there", "spec": json.dumps(spec), "elbo": value, **columns}


FROM_VAE = {"trial": {"model": {"name": "vae"}, "dataset": {"name": "here"}}, "imported": None}
FROM_FILE = {"trial": None, "imported": {"model": {"name": "dcgan"}}}


def test_a_transfer_matrix_goes_from_sources_to_targets() -> None:
    trials = trials_of(
        one=transferred(FROM_VAE, "vae", -10.0),
        other=transferred(FROM_VAE, "vae", -12.0, seed_init=1),
        across=transferred(FROM_VAE, "autoencoder", -20.0),
        imported=transferred(FROM_FILE, "vae", -30.0, sparsity=0.75),
        failed=transferred(FROM_VAE, "vae", -99.0, status="failed"),
        found={"method": "imp", "spec": "{}", "elbo": -1.0},
    )
    matrix = transfer_matrix(trials, "elbo")
    assert matrix.index.names == ["source_model", "source_dataset", "sparsity"]
    assert matrix.columns.names == ["target_model", "target_dataset"]
    assert matrix.stack(["target_model", "target_dataset"]).dropna().to_dict() == {
        ("vae", "here", 0.5, "vae", "there"): -11.0,
        ("vae", "here", 0.5, "autoencoder", "there"): -20.0,
        ("dcgan", "imported", 0.75, "vae", "there"): -30.0,
    }


def test_variants_of_a_transfer_are_not_averaged() -> None:
    trials = trials_of(
        both=transferred(FROM_VAE, "vae", -10.0, variant="vae transfer"),
        half=transferred(FROM_VAE, "vae", -20.0, variant="vae transfer move=decoder"),
    )
    with pytest.raises(AnalysisError, match="several variants of one transfer, 'vae transfer' and 'vae transfer move"):
        transfer_matrix(trials, "elbo")
    assert transfer_matrix(trials[trials["variant"] == "vae transfer"], "elbo").to_numpy().tolist() == [[-10.0]]


def test_agreement_is_of_trials_with_the_same_options() -> None:
    masks = masks_of(**{name: {"a": kept(1, 0)} for name in ("one", "wider", "seed")})
    columns = {"model.width": 4, "method.scope": None, "recipe.lr": 1e-3}
    trials = trials_of(one=columns, wider={**columns, "model.width": 8}, seed={**columns, "seed_init": 1})
    assert agreement(masks, trials.assign(seed_init=[0, 1, 1]), "seed_init")["pairs"].tolist() == [1]
    assert agreement(masks, trials.assign(model=["m", "n", "m"]), "model")["pairs"].tolist() == [1]


def test_controls_of_transfers_have_matrices_of_their_own() -> None:
    def control(of: str, value: float, spec: Mapping[str, Any]) -> dict[str, Any]:
        return {"method": "mask_only", "of": of, "spec": json.dumps({"method": {"of": spec}}), "elbo": value}

    trials = trials_of(
        transfer=transferred(FROM_VAE, "m", -1.0),
        control=control("transfer", -2.0, {"source": FROM_VAE}),
        other=control("imp", -3.0, {"name": "imp"}),
    )
    assert transfer_matrix(trials, "elbo", method="mask_only").to_numpy().tolist() == [[-2.0]]


def test_a_transfer_matrix_of_nothing_is_refused() -> None:
    trials = trials_of(one=transferred(FROM_VAE, "vae", math.nan))
    with pytest.raises(AnalysisError, match="no column 'beauty'"):
        transfer_matrix(trials, "beauty")
    with pytest.raises(AnalysisError, match=r"no trial of method 'transfer' .* has a value of 'elbo'"):
        transfer_matrix(trials, "elbo")


def test_importing_it_does_not_import_torch() -> None:
    code = "import sys, orchestrator.analysis; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("plugins", [[], ["no_such_plugin"]])
def test_a_source_whose_model_is_not_known_here_is_one_sentence(plugins: list[str]) -> None:
    source = {"trial": {"model": {"name": "odd"}, "dataset": {"name": "here"}}}
    spec = json.dumps({"method": {"name": "transfer", "source": source}, "plugins": plugins})
    why = "cannot import 'no_such_plugin'" if plugins else "unknown model 'odd'"
    with pytest.raises(AnalysisError, match=f"the source of a ticket is not understood here: .*{why}"):
        transfer_matrix(trials_of(one={**transferred(FROM_VAE, "vae", 1.0), "spec": spec}), "elbo")
