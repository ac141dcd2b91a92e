import torch
from torch import Tensor, nn

from tests.toys import toy_trial
from workers.evaluation.downstream import Judge, downstream_accuracy
from workers.models import build, initialise, materialise
from workers.models.families import Autoencoder
from workers.models.images import normalised


class Brightness(nn.Module):
    """Calls images whose mean is above zero class 1."""

    def forward(self, images: Tensor) -> Tensor:
        bright = images.flatten(1).mean(1)
        return torch.stack([-bright, bright], 1)


def test_downstream_accuracy_is_that_of_reconstructions_and_beside_it_that_of_the_images() -> None:
    family = build(toy_trial().model, (1, 32, 32))
    materialise(family, torch.device("cpu"))
    initialise(family, 0, "initial")
    assert isinstance(family, Autoencoder)
    bias = family.networks["decoder"].get_submodule("up1.linear").bias
    bias.data.fill_(5.0)  # every reconstruction is bright
    pixels = torch.tensor([0, 255, 255, 255], dtype=torch.uint8).reshape(4, 1, 1, 1).expand(4, 1, 32, 32)
    labels = torch.tensor([0, 1, 1, 0])
    with torch.no_grad():
        found = downstream_accuracy(family, normalised(pixels), Judge(Brightness(), labels))
    assert found == {"downstream_accuracy": 0.5, "downstream_accuracy_real": 0.75}
