import torch

from workers.randomness import generator


def test_draws_depend_on_seed_purpose_and_epoch_alone() -> None:
    def draw(seed: int, purpose: str, epoch: int) -> float:
        return torch.rand(1, generator=generator(seed, purpose, epoch)).item()

    assert draw(0, "order", 1) == draw(0, "order", 1)
    assert len({draw(0, "order", 1), draw(1, "order", 1), draw(0, "noise", 1), draw(0, "order", 2)}) == 4
