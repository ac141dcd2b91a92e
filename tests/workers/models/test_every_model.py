"""Every model, at every number of channels and size of images: trained, pruned, made smaller, saved and loaded."""

import pytest
import torch
from safetensors.torch import load, save

from search_spaces.methods import FixedEpoch
from search_spaces.models import models
from search_spaces.trial import Recipe
from tests.toys import EVERY_MODEL
from workers.channels.compaction import Compaction
from workers.lab.references import AS_THE_RECIPE
from workers.masks import keep_top
from workers.models import Family, build, initialise, materialise
from workers.models.state import capture, restore
from workers.pruning import magnitude
from workers.pruning.choose import choose
from workers.training.compact import Trainee
from workers.training.loop import optimizers_of

pytestmark = pytest.mark.usefixtures("one_thread")

RECIPE = Recipe(batch=5)


def built(model: str, image: tuple[int, int, int]) -> Family:
    return build(models.parse({**EVERY_MODEL[model], "width": 4}), image)


@pytest.mark.parametrize("size", [32, 64])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("model", EVERY_MODEL)
def test_it_is_trained_pruned_made_smaller_saved_and_loaded(model: str, channels: int, size: int) -> None:
    image = (channels, size, size)
    images = torch.randint(256, (20, *image), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    family = built(model, image)
    materialise(family, torch.device("cpu"))
    initialise(family, 0, "initial")
    start = capture(family, {})

    mask = keep_top(magnitude(family.prunable()), 0.5)
    masked = Trainee(built(model, image), mask, start, RECIPE, torch.device("cpu"))
    list(masked.train(images, 0, 0, 1, AS_THE_RECIPE))
    trained = masked.snapshot()
    assert all(not trained[name][~kept].any() for name, kept in family.masked(mask).items())

    channel_mask = choose(family, FixedEpoch(epoch=1, fallback="filter_norm").criterion, 0.5, None, images, 0, 0).mask
    assert Compaction(family, channel_mask).smaller
    small = Trainee(built(model, image), channel_mask, start, RECIPE, torch.device("cpu"))
    assert small.family.networks.state_dict().keys() == family.networks.state_dict().keys()
    list(small.train(images, 0, 0, 1, AS_THE_RECIPE))
    assert {name: tensor.shape for name, tensor in small.snapshot().items()} == {n: t.shape for n, t in trained.items()}

    again = built(model, image)
    materialise(again, torch.device("cpu"))
    optimizers = optimizers_of(again, RECIPE)
    restore(load(save(trained)), again, optimizers)
    loaded = capture(again, optimizers)
    assert loaded.keys() == trained.keys()
    assert all(tensor.equal(trained[name]) for name, tensor in loaded.items())
