import pytest
import torch

from search_spaces.models import DCGAN, SNGAN, VAE, Autoencoder, ModelSpec
from workers.masks import Mask
from workers.models import Family, build
from workers.pruning.transfer import MoveError, counterparts, graft, move_mask

RGB = (3, 32, 32)
PAIRS = {
    "conv at the VAE's width": (VAE(width=64), DCGAN(width=64)),
    "conv at the GAN's width": (VAE(width=128), DCGAN(width=128)),
    "resnet at the VAE's width": (VAE(width=32, backbone="resnet"), DCGAN(width=32, backbone="resnet")),
    "resnet at the GAN's width": (VAE(width=56, backbone="resnet"), DCGAN(width=56, backbone="resnet")),
}


def random_mask(family: Family) -> Mask:
    noise = torch.Generator().manual_seed(0)
    return Mask({name: torch.rand(w.shape, generator=noise) < 0.3 for name, w in family.prunable().items()})


def state(family: Family, value: float) -> dict[str, torch.Tensor]:
    return {name: torch.full(t.shape, value) for name, t in family.networks.state_dict().items()}


@pytest.mark.parametrize("pair", PAIRS)
def test_there_and_back_a_mask_is_the_same_where_it_was_mapped(pair: str) -> None:
    vae, gan = (build(spec, RGB) for spec in PAIRS[pair])
    mask = random_mask(vae)
    back = move_mask(move_mask(mask, vae, gan, ("encode", "decode")), gan, vae, ("encode", "decode"))
    assert all(back[name].equal(mask[name]) for name in back)
    unmapped = {vae.role(name).split(".")[1] for name in mask if name not in back}
    assert unmapped == {"down4", "to_posterior", "from_posterior", "up4"}


def test_of_conv_the_three_stages_next_to_the_image_have_counterparts() -> None:
    vae, gan = build(VAE(width=8), RGB), build(DCGAN(width=8), RGB)
    mapped = [gan.role(name) for name in counterparts(vae, gan, ("encode", "decode")) if name in gan.kernels()]
    assert mapped == [f"encode.down{k}.conv.weight" for k in (1, 2, 3)] + [
        f"decode.up{k}.conv.weight" for k in (3, 2, 1)
    ]
    assert list(move_mask(random_mask(vae), vae, gan, ("encode", "decode"))) == [
        *(f"discriminator.down{k}.conv.weight" for k in (1, 2, 3)),
        *(f"generator.up{k}.conv.weight" for k in (3, 2, 1)),
    ]


def test_of_a_body_that_does_not_move_there_is_no_mask() -> None:
    vae, gan = build(VAE(width=8), RGB), build(DCGAN(width=8), RGB)
    moved = move_mask(random_mask(vae), vae, gan, ("decode",))
    assert list(moved) == [f"generator.up{k}.conv.weight" for k in (3, 2, 1)]


def test_what_the_source_did_not_prune_is_kept() -> None:
    vae, gan = build(VAE(width=8), RGB), build(DCGAN(width=8), RGB)
    partial = Mask({name: kept for name, kept in random_mask(vae).items() if "up2" in name})
    moved = move_mask(partial, vae, gan, ("decode",))
    assert [bool(moved[f"generator.up{k}.conv.weight"].all()) for k in (3, 2, 1)] == [True, False, True]


def test_weights_and_norms_move_by_role_and_all_else_is_the_targets() -> None:
    vae, gan = build(VAE(width=4, latent=5), RGB), build(DCGAN(width=4, latent=5, ema=0.9), RGB)
    moment = "moments.decoder.up2.conv.weight.exp_avg"
    source = state(vae, 1.0) | {moment: torch.full((8, 4, 4, 4), 3.0)}
    onto = state(gan, 2.0) | {
        "moments.generator.up1.conv.weight.step": torch.tensor(7.0),
        "moments.generator.from_noise.conv.weight.step": torch.tensor(7.0),
    }
    grafted = graft(source, onto, vae, gan, ("decode",))
    assert grafted["generator.up2.norm.running_mean"].unique().tolist() == [1]
    assert grafted["average.up2.conv.bias"].unique().tolist() == [1]
    assert grafted["average.up2.conv.bias"].data_ptr() != grafted["generator.up2.conv.bias"].data_ptr()
    assert grafted["generator.from_noise.conv.weight"].unique().tolist() == [2]
    assert grafted["discriminator.down1.conv.weight"].unique().tolist() == [2]
    moments = [name for name in grafted if name.startswith("moments.")]
    assert moments == ["moments.generator.from_noise.conv.weight.step"], "what moved begins without any"


def test_spectral_norm_does_not_hide_a_kernel() -> None:
    gan, sngan = build(DCGAN(width=4), RGB), build(SNGAN(width=4), RGB)
    there = counterparts(gan, sngan, ("encode",))
    assert there["discriminator.down2.conv.parametrizations.weight.original"] == "discriminator.down2.conv.weight"
    assert "discriminator.to_logit.conv.parametrizations.weight.original" in there


def test_between_images_of_other_channels_the_stages_next_to_them_are_unmapped() -> None:
    grey, colour = build(VAE(width=4), (1, 32, 32)), build(VAE(width=4), RGB)
    moved = move_mask(random_mask(grey), grey, colour, ("encode", "decode"))
    assert set(colour.kernels()) - set(moved) == {"encoder.down1.conv.weight", "decoder.up1.conv.weight"}


@pytest.mark.parametrize("spec", [VAE(width=8), VAE(width=4, backbone="mlp"), Autoencoder(width=4, backbone="resnet")])
def test_where_no_role_matches_nothing_can_move(spec: ModelSpec) -> None:
    with pytest.raises(MoveError, match="nothing can move: no kernel has the same role and shape in both models"):
        counterparts(build(spec, RGB), build(DCGAN(width=4), RGB), ("decode",))
