from pathlib import Path

import numpy as np
import pytest

from search_spaces.datasets import Emoji
from tests.workers.data.formats import save
from workers import data
from workers.data import DataError
from workers.data.sources import emoji

debian = pytest.mark.skipif(
    not (emoji.DEBIAN / emoji.FONT).is_file(), reason="needs the Debian package fonts-noto-color-emoji"
)


@pytest.fixture
def no_debian(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(emoji, "DEBIAN", tmp_path / "nowhere")


@debian
@pytest.mark.parametrize("size", [32, 64])
def test_emoji_are_over_a_thousand_coloured_glyphs_no_two_alike(size: int) -> None:
    split, card = data.load(Emoji(size=size)), data.card(Emoji(size=size))
    assert card.image == (3, size, size)
    assert (card.classes, card.labels) == (0, "")
    assert card.train == len(split.train) > 900
    assert card.held_out == len(split.held_out) == 400
    images = np.concatenate([split.train, split.held_out])
    assert len({image.tobytes() for image in images}) == len(images)
    assert np.mean([(image[0] != image[2]).any() for image in images]) > 0.8


@debian
def test_emoji_lie_on_white() -> None:
    images = data.load(Emoji()).train
    assert (images[:, :, 0, :] == 255).mean() > 0.9


@debian
@pytest.mark.usefixtures("no_debian")
def test_a_font_in_the_data_folder_will_do_as_well(data_folder: Path) -> None:
    (data_folder / emoji.FONT).symlink_to("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")
    assert data.card(Emoji()).held_out == 400


@debian
def test_a_font_of_few_glyphs_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emoji, "HELD_OUT", 10_000)
    with pytest.raises(DataError, match="has only"):
        data.card(Emoji())


@debian
@pytest.mark.usefixtures("no_debian")
def test_a_truncated_font_is_refused(data_folder: Path) -> None:
    save(data_folder / emoji.FONT, Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf").read_bytes()[:100_000])
    with pytest.raises(DataError, match=r"NotoColorEmoji\.ttf has no colour bitmaps, or is damaged"):
        data.card(Emoji())


@pytest.mark.usefixtures("no_debian")
def test_a_missing_font_says_how_to_get_it(data_folder: Path) -> None:
    with pytest.raises(DataError, match=f"or {data_folder} .*install the Debian package fonts-noto-color-emoji"):
        data.card(Emoji())
