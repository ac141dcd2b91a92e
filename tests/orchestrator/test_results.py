import logging
import shutil
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from orchestrator import results
from orchestrator.sweeps import enroll, record, standing
from search_spaces.sweep import Sweep
from search_spaces.trial import Trial
from tests.toys import toy_sweep, toy_trial, toy_trials
from workers import data
from workers.archive.states import Archive
from workers.lab.references import Line, MaskKey, State
from workers.rows.schema import SCHEMAS, write_unsuccessful
from workers.store import names
from workers.store.backends import Store, StoreError, open_store
from workers.trial import run_trial

TRIALS = toy_trials(sparsities=[0.2, 0.36])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = open_store(str(tmp_path_factory.mktemp("finished")))
    for trial in TRIALS:
        run_trial(trial, store)
    return store


def test_pandas_reads_the_parquet_files_directly(finished: Store, tmp_path: Path) -> None:
    root = Path(finished.uri.removeprefix("file://"))
    for dataset, schema in SCHEMAS.items():
        frame = pd.read_parquet(root / dataset)
        assert list(frame.columns) == schema.names
        assert set(frame["trial_id"]) == {trial.id for trial in TRIALS}


def test_a_row_carries_the_whole_trial(finished: Store) -> None:
    rows = results.trials(finished.uri)
    restored = {Trial.model_validate_json(spec) for spec in rows["spec"]}
    assert restored == set(TRIALS)


def test_a_row_carries_the_keys_to_find_its_objects(finished: Store) -> None:
    archive = Archive(finished)
    for _, row in results.trials(finished.uri).iterrows():
        assert archive.mask(MaskKey(row["mask_key"])) == results.mask(finished.uri, row["trial_id"])
        assert archive.evaluation(row["evaluation_key"])["metrics"]["reconstruction_mse"] == row["reconstruction_mse"]
        assert results.picture(finished.uri, row["evaluation_key"], "reconstructions").startswith(b"\x89PNG")


def test_pictures_that_were_not_made_are_told(finished: Store) -> None:
    with pytest.raises(results.ResultsError, match="no picture of samples of evaluation 'none'"):
        results.picture(finished.uri, "none", "samples")


def test_a_metric_can_be_computed_again_from_the_stored_state(finished: Store) -> None:
    row = results.trials(finished.uri).iloc[0]
    trial = Trial.model_validate_json(row["spec"])
    line, _, epoch = row["final_key"].partition("@")
    point = Archive(finished).point(State(Line(line), int(epoch)), moments=False)
    assert point is not None
    w = {name: tensor.double() for name, tensor in point.tensors.items()}
    images = torch.from_numpy(data.load(trial.dataset).held_out[:50]).double().flatten(1) / 127.5 - 1
    output = images
    for layer, activation in (
        ("encoder.down1", torch.relu),
        ("encoder.to_code", torch.clone),
        ("decoder.from_code", torch.relu),
        ("decoder.up1", torch.tanh),
    ):
        output = activation(output @ w[f"{layer}.linear.weight"].T + w[f"{layer}.linear.bias"])
    assert row["reconstruction_mse"] == pytest.approx((output - images).square().mean().item(), rel=1e-5)


def test_a_row_says_where_and_by_what_it_was_made(finished: Store) -> None:
    row = results.trials(finished.uri).iloc[0]
    assert row["device"] == "cpu"
    assert row["threads"] == 1
    assert row["tombola"]
    assert row["torch"]
    assert row["host"]
    assert row["finished"].tzinfo is not None


def test_masks_add_up(finished: Store) -> None:
    masks = results.masks(finished.uri).groupby("trial_id")[["weights", "kept"]].sum()
    rows = results.trials(finished.uri).set_index("trial_id")
    assert (masks["weights"] == rows["prunable"]).all()
    assert (masks["kept"] == rows["kept"]).all()
    assert (1 - masks["kept"] / masks["weights"]).round(9).equals(rows["achieved_sparsity"].round(9))


@pytest.mark.parametrize("dataset", SCHEMAS)
@pytest.mark.parametrize("kind", [str, Path])
def test_a_store_that_is_not_there_is_told(dataset: str, kind: type, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"there is no store at file://.*/tombola-stroe;"):
        getattr(results, dataset)(kind(tmp_path / "tombola-stroe"))
    assert not (tmp_path / "tombola-stroe").exists()


@pytest.mark.parametrize("dataset", SCHEMAS)
def test_a_store_without_rows_has_empty_tables_with_all_columns(dataset: str, tmp_path: Path) -> None:
    record(Sweep.model_validate(toy_sweep()), open_store(str(tmp_path)))
    frame = getattr(results, dataset)(tmp_path)
    assert frame.empty
    assert set(frame.columns) == {*SCHEMAS[dataset].names, *(["variant", "sweep"] if dataset == names.TRIALS else [])}


DECODER = {"name": "imp", "scope": {"components": ["decoder"]}}


@pytest.fixture(scope="module")
def unlike(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows of trials that differ in options, a plugin's too, in two sweeps that share one."""
    root = tmp_path_factory.mktemp("unlike")
    store = open_store(str(root))
    narrow, wide = ({"name": "linear_autoencoder", "width": width, "latent": 4} for width in (4, 8))
    plugin = {"name": "faulty", "width": 2, "broken": "nothing"}
    common = {"sparsities": [0.2], "seeds": 2}
    contents = [
        toy_sweep(**common, name="widths", models=[narrow, wide], methods=["imp", DECODER]),
        toy_sweep(**common, name="plugin", models=[narrow, plugin], methods=["imp"], recipe={"batch": 20, "lr": 0.01}),
        toy_sweep(**common, name="again", models=[narrow], methods=["imp"]),
    ]
    for sweep in map(Sweep.model_validate, contents):
        enroll(sweep, sweep.trials(), store)
        for trial in sweep.trials():
            write_unsuccessful(store, trial, "failed", "not run", "")
    return root


def test_plain_parquet_tells_trials_of_other_options_apart(unlike: Path) -> None:
    for rows in (pd.read_parquet(unlike / names.TRIALS), results.trials(unlike)):
        options = ["model", "model.width", "method.scope", "recipe.lr"]
        assert set(rows.groupby(options, dropna=False).size()) == {2}
        assert set(rows["model.width"]) == {2, 4, 8}
        assert '{"components":["decoder"],"exempt":[],"ranking":"global"}' in set(rows["method.scope"])


def test_options_of_plugins_have_columns(unlike: Path) -> None:
    assert set(results.trials(unlike)["model.broken"].dropna()) == {"nothing"}
    assert "model.broken" not in pd.read_parquet(unlike / names.TRIALS)


def test_a_variant_holds_what_differs_but_for_seeds_and_sparsities(unlike: Path) -> None:
    rows = results.trials(unlike)
    assert set(rows.groupby("variant").size()) == {2}
    assert set(results.trials(unlike, sweep="widths")["variant"]) == {
        *("linear_autoencoder width=4 imp", "linear_autoencoder width=4 imp scope.components=decoder"),
        *("linear_autoencoder width=8 imp", "linear_autoencoder width=8 imp scope.components=decoder"),
    }
    assert set(results.trials(unlike, sweep="plugin")["variant"]) == {"linear_autoencoder", "faulty"}
    assert set(results.trials(unlike, sweep="again")["variant"]) == {"imp"}


def test_rows_say_of_which_sweeps_they_are(unlike: Path) -> None:
    assert set(results.trials(unlike)["sweep"]) == {"widths", "plugin", "again, widths"}
    with pytest.raises(
        results.ResultsError, match=r"knows no trials of a sweep 'wdths'; it knows those of: again, plugin, widths"
    ):
        results.trials(unlike, sweep="wdths")


def test_options_of_rows_of_older_versions_are_those_of_their_spec(unlike: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(unlike, tmp_path / "store"))
    for path in (root / names.TRIALS).iterdir():
        rewritten(path, **{"model.width": None, "recipe.lr": None, "method.scope": None})
    pd.testing.assert_frame_equal(results.trials(root), results.trials(unlike))


def test_a_damaged_row_file_is_reported_and_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = open_store(str(tmp_path))
    for trial in TRIALS:
        run_trial(trial, store)
    damaged = next((tmp_path / names.TRIALS).iterdir())
    data = bytearray(damaged.read_bytes())
    data[40] ^= 1
    damaged.write_bytes(data)
    with caplog.at_level(logging.WARNING):
        rows = results.trials(store.uri)
    assert len(rows) == len(TRIALS) - 1
    assert "is damaged" in caplog.text


def rewritten(path: Path, **changes: pa.Array | None) -> None:
    """Write a file of rows as another version would: with other columns, and without a digest."""
    table = pq.ParquetFile(path).read()
    for name, column in changes.items():
        table = table.drop_columns([name])
        table = table if column is None else table.append_column(name, column)
    path.unlink()
    pq.write_table(table.append_column("novel", pa.array([1] * len(table))), path, write_page_checksum=True)


@pytest.mark.parametrize("spec", [None, "{", "{}", "[]"])
def test_a_row_that_does_not_say_of_what_trial_it_is_is_left_out(
    finished: Store, tmp_path: Path, spec: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    root = Path(shutil.copytree(finished.uri.removeprefix("file://"), tmp_path / "store"))
    rewritten(min((root / names.TRIALS).iterdir()), spec=pa.array([spec], pa.string()))
    assert len(results.trials(root)) == len(TRIALS) - 1
    assert "do not say of what trials they are" in caplog.text


@pytest.mark.parametrize("dataset", SCHEMAS)
def test_rows_of_a_version_with_other_columns_are_whole(
    finished: Store, tmp_path: Path, dataset: str, caplog: pytest.LogCaptureFixture
) -> None:
    root = Path(shutil.copytree(finished.uri.removeprefix("file://"), tmp_path / "store"))
    before = getattr(results, dataset)(str(root))
    added = {names.TRIALS: "data_fingerprint", names.SCORES: "best", names.HISTORY: "ticket", names.MASKS: "role"}
    for path in sorted((root / dataset).iterdir())[:-1]:
        rewritten(path, **{added[dataset]: None})
    after = getattr(results, dataset)(str(root))
    assert list(after.columns) == list(before.columns)
    assert after["trial_id"].tolist() == before["trial_id"].tolist()
    assert after[added[dataset]].notna().sum() < len(after)
    assert standing(TRIALS, open_store(str(root))).done == len(TRIALS)
    assert set(pd.read_parquet(root / dataset)["trial_id"]) == {trial.id for trial in TRIALS}
    assert not caplog.text


def test_columns_whose_type_changed_are_told_once(
    finished: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = Path(shutil.copytree(finished.uri.removeprefix("file://"), tmp_path / "store"))
    for path in (root / names.TRIALS).iterdir():
        rewritten(path, sparsity=pa.array(["half"]))
    assert results.trials(str(root)).empty
    (told,) = caplog.messages
    assert "is left out (so are 1 more): its column 'sparsity' is of type string" in told


def test_files_that_are_no_rows_are_not_counted(
    finished: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = Path(shutil.copytree(finished.uri.removeprefix("file://"), tmp_path / "store"))
    for dataset in SCHEMAS:
        path = min((root / dataset).iterdir())
        copies = [f"{path.stem} (conflicted copy).parquet", f"{path.stem}.PARQUET", f"{path.name}.tmp"]
        for other in (*copies, f"._{path.name}", "x.parquet", f"old/{path.name}", f"{path.stem}~.parquet/{path.name}"):
            (root / dataset / other).parent.mkdir(exist_ok=True)
            (root / dataset / other).write_bytes(path.read_bytes())
        (root / dataset / ".DS_Store").write_bytes(b"Bud1")
        pd.testing.assert_frame_equal(getattr(results, dataset)(str(root)), getattr(results, dataset)(finished.uri))
    assert standing(TRIALS, open_store(str(root))).done == len(TRIALS)
    assert not caplog.text


def test_rows_under_the_name_of_another_trial_are_left_out(
    finished: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = Path(shutil.copytree(finished.uri.removeprefix("file://"), tmp_path / "store"))
    one, other = (root / names.TRIALS).iterdir()
    other.write_bytes(one.read_bytes())
    assert len(results.trials(str(root))) == 1
    assert "its rows are of another trial" in caplog.text


def test_a_mask_that_is_not_there_says_so(finished: Store) -> None:
    with pytest.raises(results.ResultsError, match="no mask of a trial 'nope'"):
        results.mask(finished.uri, "nope")


def test_every_column_is_documented_as_its_schema_says() -> None:
    documentation = (Path(__file__).parents[2] / "docs" / "results.md").read_text()
    for schema in SCHEMAS.values():
        for field in schema:
            noun, dot, _ = field.name.partition(".")
            row = f"| `{noun}.*` | " if dot else f"| `{field.name}` | "
            assert f"{row}{field.metadata[b'meaning'].decode()}{':' if dot else ' |'}" in documentation


def test_a_row_counts_all_parameters_and_both_seeds(store: Store) -> None:
    run_trial(toy_trial(sparsities=[0.2], seeds=[{"init": 1, "order": 2}]), store)
    row = results.trials(store.uri).iloc[0]
    weights = 1024 * 8 + 8 * 4 + 4 * 8 + 8 * 1024
    assert (row["prunable"], row["parameters"]) == (weights, weights + 8 + 4 + 8 + 1024)
    assert (row["seed_init"], row["seed_order"]) == (1, 2)
