"""Variants hold what differs, and no more."""

import json
from typing import Any

import pytest

from orchestrator.labels import variants
from tests.toys import TOY_MODELS, toy_trials

VAE = {"name": "vae", "width": 4}
FROM_DCGAN = {"name": "transfer", "source": {"model": {"name": "dcgan", "width": 4}}}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"seeds": 3}, ["imp"]),
        ({"methods": ["dense", "imp"]}, ["dense", "imp"]),
        ({"models": [VAE, {"name": "dcgan", "width": 8}]}, ["vae", "dcgan"]),
        ({"models": [VAE, {**VAE, "width": 8}]}, ["vae width=4", "vae width=8"]),
        ({"models": [VAE, {**VAE, "backbone": "resnet"}]}, ["vae", "vae backbone=resnet"]),
        (
            {"datasets": ["toy_digits", {"name": "toy_digits", "fraction": 0.5}]},
            ["toy_digits", "toy_digits fraction=0.5"],
        ),
        ({"methods": ["imp", {"name": "imp", "rewind": 2}]}, ["imp rewind=1", "imp rewind=2"]),
        ({"methods": ["imp", "snip", {"name": "snip", "images": 50}]}, ["imp", "snip images=100", "snip images=50"]),
        ({"methods": ["reinit", {"name": "reinit", "of": "snip"}]}, ["reinit of=imp", "reinit of=snip"]),
        (
            {"methods": ["reinit", {"name": "reinit", "of": {"name": "imp", "rate": 0.5}}]},
            ["reinit rate=0.2", "reinit rate=0.5"],
        ),
        (
            {"models": [VAE], "methods": [FROM_DCGAN, {**FROM_DCGAN, "source": {"method": "snip"}}]},
            ["transfer source.model=dcgan", "transfer source.model=vae"],
        ),
        (
            {
                "models": list(TOY_MODELS.values()),
                "overrides": [{"where": {"model": "vae"}, "set": {"recipe.lr": 1e-4}}],
            },
            ["linear_autoencoder", "vae", "dcgan"],
        ),
        (
            {"methods": ["imp", "snip"], "overrides": [{"where": {"seed": 1}, "set": {"recipe.lr": 1e-4}}], "seeds": 2},
            ["imp lr=0.001", "imp lr=0.0001", "snip lr=0.001", "snip lr=0.0001"],
        ),
    ],
)
def test_a_variant_holds_what_differs(changes: dict[str, Any], expected: list[str]) -> None:
    specs = [json.loads(trial.spec_json) for trial in toy_trials(**{"sparsities": [0.2, 0.36], **changes})]
    assert list(dict.fromkeys(variants(specs))) == expected


def test_the_code_of_a_plugin_is_no_name_of_a_model() -> None:
    spec = json.loads(toy_trials(sparsities=[0.2])[0].spec_json)
    others = [{**spec, "code": {"model": f"lab version {number}"}} for number in (1, 2)]
    assert variants([spec, *others]) == ["imp", "imp code.model=lab version 1", "imp code.model=lab version 2"]


def test_ways_of_evaluation_are_told_apart() -> None:
    one, other = (toy_trials(sparsities=[0.2], evaluation={"samples": n})[0] for n in (50, 60))
    assert variants([json.loads(trial.spec_json) for trial in (one, other)]) == ["samples=50", "samples=60"]
