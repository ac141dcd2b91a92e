"""Bad sweep files: one sentence that names the file, the field and what is allowed."""

from pathlib import Path

import pytest

from search_spaces import SweepError, load_sweep

GOOD = """
name: good
models: [vae]
datasets: [digits]
methods: [imp]
sparsities: [0.2]
seeds: 1
epochs: 10
"""


def problem(tmp_path: Path, text: str | bytes) -> str:
    path = tmp_path / "sweep.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SweepError) as caught:
        load_sweep(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    assert len(message) < 2000
    return message.removeprefix(str(path))


def test_a_good_sweep_loads(tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(GOOD)
    assert load_sweep(path).name == "good"


def test_a_name_may_look_like_a_date(tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(GOOD.replace("name: good", "name: 2024-02-30"))
    assert load_sweep(path).name == "2024-02-30"


def test_what_is_merged_may_be_overridden(tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    merged = "[{<<: *other, width: 16}]\nmethods: [{name: reinit, of: &other2 {<<: &imp {name: imp}, rate: 0.3}}, *imp]"
    path.write_text(GOOD.replace("[vae]", f"[&other {{name: vae}}, {merged[1:]}").replace("\nmethods: [imp]", "", 1))
    assert [str(model.width) for model in load_sweep(path).models] == ["64", "16"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[vae]", "[gan]", ": models.0: unknown model 'gan'; known: autoencoder,"),
        (
            "[vae]",
            "[{name: vae, with: 3}]",
            ": models.0: unknown key 'with'; allowed: backbone, beta, latent, name, width",
        ),
        ("[vae]", "[{name: vae, width: 0}]", ": models.0.width: input should be greater than 0, but it is 0"),
        ("[vae]", "[{width: 3}]", ": models.0: a model is a name or a mapping with a name; known:"),
        ("[vae]", "[]", ": models: list should have at least 1 item"),
        ("epochs: 10", "epochs: true", ": epochs cannot be true"),
        ("[0.2]", "[true]", ": sparsities: true is no sparsity"),
        ("epochs: 10", "epochs: 10\nrecipe: 3", ": recipe: input should be a valid mapping, but it is 3"),
        (
            "epochs: 10",
            "epochs: 10\noverrides: [{where: {model: vae}, set: {recipe.lr: .nan}}]",
            ": overrides.0.set: recipe.lr: input should be a finite number",
        ),
        ("[vae]", "vae", ": models: input should be a valid list, but it is 'vae'"),
        ("[imp]", "[imq]", ": methods.0: unknown method 'imq'; known: dense, early_bird,"),
        ("[imp]", "[{name: reinit, of: dense}]", ": methods.0.of: 'dense' does not find a mask"),
        ("[digits]", "[mnits]", ": datasets.0: unknown data set 'mnits'; known: celeba,"),
        ("epochs: 10", "epochs: 0", ": epochs: input should be greater than 0"),
        ("epochs: 10", "", ": epochs: is missing"),
        ("epochs: 10", "epochs: 10\nepochs: 11", "key 'epochs' stands twice"),
        ("epochs: 10", "epochs: 10\nrewind: 12", ": rewind: epoch 12 of method 'imp' leaves nothing to train"),
        ("epochs: 10", "epochs: 10\ncolour: red", ": unknown key 'colour'; allowed: checkpoint_every, datasets,"),
        ("epochs: 10", "epochs: 10\nrecipe: {lr: .nan}", ": recipe.lr: input should be a finite number"),
        ("epochs: 10", "epochs: 10\nplugins: [no.such]", ": plugins: cannot import 'no.such'"),
        ("epochs: 10", "epochs: 10\ncheckpoint_every: {}", ": checkpoint_every: give either epochs or minutes"),
        ("[0.2]", "[1.0]", r": sparsities: sparsity 1 is outside [0, 1)"),
        ("[0.2]", "[20]", r": sparsities: sparsity 20 is outside [0, 1); write 0.2 for 20 %"),
        ("[0.2]", "[-0.1]", r": sparsities: sparsity -0.1 is outside [0, 1)"),
        ("[0.2]", "[.nan]", ": sparsities.0: input should be a finite number"),
        ("[0.2]", "[{rounds: 0}]", ": sparsities: a sparsity is a number in [0, 1), or `rounds: n`"),
        ("seeds: 1", "seeds: [1, 1]", ": duplicate trial: vae on digits by imp at sparsity 0.2 with seed 1/1"),
        ("seeds: 1", "seeds: 0", ": seeds: 0 is not a number of seeds"),
        ("seeds: 1", "seeds: [-1]", ": seeds.0.init: input should be greater than or equal to 0"),
        ("name: good", "name: ../evil", ": name: string should match pattern"),
        ("name: good", "name: !!python/object/apply:os.system ['true']", "is not plain YAML: could not determine"),
        ("name: good", "name: [", "is not plain YAML"),
        ("epochs: 10", "epochs: 2024-02-30", ": epochs: input should be a valid integer"),
        ("epochs: 10", f"epochs: {'9' * 5000}", ", line 8: is not plain YAML: found a whole number that is not"),
        ("epochs: 10", f"epochs: '{'9' * 4000}'", ": epochs: input should be less than 1000000"),
        ("epochs: 10", f"epochs: {2**63}", ", line 8: is not plain YAML: found a whole number that is not from -2**63"),
        ("[vae]", f"[{{name: vae, width: '{2**63}'}}]", ": models.0: width: must be from -2**63 to 2**63 - 1"),
        ("[vae]", "[!!set {vae}]", "is not plain YAML: could not determine"),
        ("[vae]", "[{1: vae}]", "is not plain YAML: found a key that is no text"),
        ("[vae]", "[&a [*a]]", "is not plain YAML: alias 'a' is part of itself"),
        (
            "[vae]",
            "[" * 60 + "]" * 60,
            "is not plain YAML: it has more than 300,000 values, or is nested deeper than 50",
        ),
        ("[vae]", f"[&a [{'vae,' * 1000}], {'*a,' * 300}]", "is not plain YAML: it has more than 300,000 values"),
        ("[vae]", f"[{'0' * 8_000_000}]", ": is larger than the 8,000,000 bytes that a sweep file can have"),
        ("[vae]", f"[vae] # {'é' * 4_000_000}", ": is larger than the 8,000,000 bytes that a sweep file can have"),
        ("[vae]", f"[{'x' * 100_000}]", ": models.0: unknown model 'xxxxx"),
        (
            "seeds: 1",
            f"seeds: 1000\nexclude: [{{seed: {list(range(2001))}}}]",
            ": overrides and exclude: 2,001 values to compare with 1,000 trials are too many",
        ),
        (
            "[0.2]\nseeds: 1",
            "[{rounds: 100}, 0.1]\nseeds: 1000",
            ": models, datasets, methods, sparsities and seeds span 101,000 trials; at most 100,000 are possible",
        ),
        (
            "epochs: 10",
            "epochs: 1001\nevaluation: {selection: {every: 1}}",
            ": evaluation.selection.every: that looks at more than 1,000 epochs of 1,001",
        ),
        ("epochs: 10", "epochs: !!int abc", "is not plain YAML"),
        ("name: good", "name: !!bool foo", "is not plain YAML"),
        ("[imp]", "[{name: imp, rate: 1.0e-13}]", ": methods.0.rate: input should be greater than or equal to 0.01"),
        ("[0.2]", "[0.9999999999999]", ": sparsities: sparsity 1 is outside [0, 1)"),
        ("seeds: 1", "seeds: 1000000000", ": seeds: 1000000000 is not a number of seeds; give 1 to 100000"),
    ],
)
def test_a_mistake_is_told_in_one_sentence(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert message in problem(tmp_path, GOOD.replace(old, new))


@pytest.mark.parametrize("text", ["", "- a\n- b", "just words", "3"])
def test_what_is_no_mapping_is_no_sweep(tmp_path: Path, text: str) -> None:
    assert "is no mapping" in problem(tmp_path, text)


def test_binary_is_no_sweep(tmp_path: Path) -> None:
    assert "is not UTF-8 text" in problem(tmp_path, b"\xff\xfe\x00")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SweepError, match=r"no\.yaml: cannot be read: No such file"):
        load_sweep(tmp_path / "no.yaml")


def test_numbers_in_scientific_notation_are_numbers(tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(GOOD + "recipe: {lr: 1e-3}\n")  # YAML 1.1 takes 1e-3 for a string
    assert load_sweep(path).recipe.lr == 0.001
