import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from search_spaces.datasets import Digits, FashionMNIST
from workers import data
from workers.data import Images, Labels
from workers.evaluation.classifiers import ClassifierError, SmallNet, accuracy, check, fit, pack, unpack, untrained
from workers.evaluation.instruments import Penultimate

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor]:
    split = data.load(Digits())
    assert split.train_labels is not None
    return tensor(split.train[:1000]), tensor(split.train_labels[:1000]).long()


@pytest.fixture(autouse=True)
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def tensor(array: Images | Labels) -> Tensor:
    return torch.from_numpy(array.copy())


def trained(images: Tensor, labels: Tensor) -> nn.Module:
    classifier = untrained("fashion", data.card(Digits()), CPU)
    list(fit("fashion", classifier, images, labels))
    return classifier


def test_the_small_classifier_has_forty_thousand_parameters() -> None:
    assert sum(p.numel() for p in SmallNet(1, 10).parameters()) == 40_202


def test_a_classifier_learns_and_does_so_the_same_each_time(digits: tuple[Tensor, Tensor]) -> None:
    rng = torch.get_rng_state()
    first, second = trained(*digits), trained(*digits)
    assert accuracy(first, *digits) > 0.5
    for one, other in zip(first.state_dict().values(), second.state_dict().values(), strict=True):
        assert one.equal(other)
    assert torch.get_rng_state().equal(rng)


def test_a_classifier_is_the_same_after_packing(digits: tuple[Tensor, Tensor]) -> None:
    images, _ = digits
    classifier = trained(*digits).eval()
    with torch.no_grad():
        expected = classifier(images[:9].float())
        assert unpack(pack(classifier), "fashion", 1)(images[:9].float()).equal(expected)


def test_resnet_sees_small_images_in_one_and_three_channels() -> None:
    for channels in (1, 3):
        card = dataclasses.replace(data.card(Digits()), image=(channels, 32, 32), classes=7)
        assert untrained("resnet18", card, CPU).eval()(torch.zeros(2, channels, 32, 32)).shape == (2, 7)


def test_accuracy_is_the_share_told_right() -> None:
    class Always(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return torch.tensor([[0.0, 1.0]]).expand(len(images), -1)

    labels = torch.tensor([1, 1, 1, 0]).repeat(300)
    assert accuracy(Always(), torch.zeros(1200, 1, 2, 2, dtype=torch.uint8), labels) == 0.75


def test_a_classifier_that_did_not_learn_is_refused() -> None:
    with pytest.raises(ClassifierError, match=r"'fashion' tells 89.9% of held-out images right, .* below 90%"):
        check("fashion", 0.899)
    check("fashion", 0.9)


def test_the_features_of_larger_images_are_those_of_images_seen_smaller() -> None:
    extractor = Penultimate(untrained("fashion", data.card(Digits()), CPU).eval())
    small = torch.full((2, 1, 32, 32), 100, dtype=torch.uint8)
    large = torch.full((2, 1, 64, 64), 100, dtype=torch.uint8)
    assert extractor(small).shape == (2, 48)
    torch.testing.assert_close(extractor(small), extractor(large))


@pytest.mark.slow
@pytest.mark.skipif(
    not Path("/usr/share/datasets/fashion-mnist").is_dir(), reason="needs Debian's package dataset-fashion-mnist"
)
def test_the_small_classifier_tells_nine_of_ten_pieces_of_clothing() -> None:
    split = data.load(FashionMNIST())
    assert split.train_labels is not None
    assert split.held_out_labels is not None
    classifier = untrained("fashion", data.card(FashionMNIST()), CPU)
    torch.set_num_threads(2)
    list(fit("fashion", classifier, tensor(split.train), tensor(split.train_labels).long()))
    check("fashion", accuracy(classifier, tensor(split.held_out), tensor(split.held_out_labels).long()))
