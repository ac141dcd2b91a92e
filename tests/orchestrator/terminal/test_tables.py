"""Tables fit the terminal."""

import io

import pandas as pd
import pytest
from rich.console import Console

from orchestrator.terminal.tables import trials_table

ROWS = pd.DataFrame(
    {
        "trial_id": ["0123456789abcdef", "fedcba9876543210"],
        "variant": ["linear_autoencoder width=128 latent=32 shuffle_layer", "vae imp"],
        "sparsity": [0.5904, 0.36],
        "seed_init": [2**62, 1],
        "seed_order": [2**62 - 1, 1],
        "status": ["done", "diverged"],
        "reconstruction_mse": [0.03333333, None],
        "elbo": [None, -123.456],
        "fid": [None, None],
        "frechet_distance": [None, 12.5],
        "discriminator_loss": [1.386294, None],
    }
)


def test_trials_without_any_metric_fit_too() -> None:
    bare = ROWS.assign(reconstruction_mse=None, elbo=None, frechet_distance=None, discriminator_loss=None)
    assert len(trials_table(bare, 30).rows) == len(ROWS)


@pytest.mark.parametrize(
    ("width", "metrics"),
    [
        (80, ["0.03333", "elbo -123.5"]),
        (120, ["reconstruction", "distance", "discriminator", "12.5"]),
    ],
)
def test_trials_fit_the_terminal_and_nothing_is_cut(width: int, metrics: list[str]) -> None:
    printed = io.StringIO()
    Console(file=printed, width=width).print(trials_table(ROWS, width))
    lines = printed.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert "…" not in printed.getvalue()
    for shown in ("0123456789abcdef", "fedcba9876543210", "diverged", "0.5904", *metrics):
        assert any(shown in line for line in lines), shown
    assert "fid" not in lines[0].split()
