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
    return message.removeprefix(str(path))


def test_a_good_sweep_loads(tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(GOOD)
    assert load_sweep(path).name == "good"


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
        ("name: good", "name: 2024-02-30", "is not plain YAML: ValueError: day is out of range"),
        ("epochs: 10", "epochs: !!int abc", "is not plain YAML"),
        ("name: good", "name: !!bool foo", "is not plain YAML"),
        ("[imp]", "[{name: imp, rate: 1.0e-13}]", ": methods.0.rate: input should be greater than or equal to 0.001"),
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
