import pytest

from search_spaces.datasets import ImageFolder
from search_spaces.sweep import Sweep
from tests.toys import toy_sweep


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("faces", "faces"),
        ("./faces", "faces"),
        ("faces/", "faces"),
        ("faces//", "faces"),
        ("a/../faces", "faces"),
        ("a/./faces/.", "a/faces"),
        ("//data///faces", "/data/faces"),
        ("../faces", "../faces"),
        ("~/faces/", "~/faces"),
        (".", "."),
        ("./", "."),
        ("..faces", "..faces"),
    ],
)
def test_a_folder_has_one_spelling(written: str, meant: str) -> None:
    assert ImageFolder(folder=written) == ImageFolder(folder=meant)
    assert ImageFolder(folder=written).folder == meant


def test_one_folder_is_one_trial_however_it_is_spelt() -> None:
    folders = ["faces", "./faces", "faces/"]
    sweeps = [toy_sweep(datasets=[{"name": "image_folder", "folder": folder}]) for folder in folders]
    assert len({tuple(trial.id for trial in Sweep.model_validate(sweep).trials()) for sweep in sweeps}) == 1


@pytest.mark.parametrize("folder", ["", "a\0b", "x" * 1001, "caf\udce9", None, 3])
def test_what_is_no_folder_is_refused(folder: object) -> None:
    with pytest.raises(ValueError, match="folder"):
        ImageFolder.model_validate({"folder": folder})
