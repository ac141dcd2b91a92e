"""Labels: trials in a few words. Among several trials, a variant has only the words that tell them apart."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from search_spaces.columns import raw_options
from search_spaces.trial import Trial

_Kind = tuple[tuple[str, Any], ...]
"""Settings of a trial that its variant can name: pairs of a name and a plain value."""
_UNSAID = {"sparsity", "seed", "resources", "checkpoint_every", "plugins"}
_NOUNS = ("model", "dataset", "method")


def label(trial: Trial) -> str:
    """A trial in a few words."""
    finder = trial.finder
    method = trial.method.name
    if finder is not None and finder is not trial.method:
        method = f"{method}({finder.name})"
    return f"{trial.model.title} {trial.dataset.name} {method}{_numbers(trial)}"


def labels_of(trials: Sequence[Trial]) -> dict[str, str]:
    """Labels of some trials, by id: the variant, then sparsity and seed."""
    labels = variants_of(trials)
    return {trial.id: f"{labels[trial.id]}{_numbers(trial)}" for trial in trials}


def variants_of(trials: Sequence[Trial]) -> dict[str, str]:
    """Variants of some trials, by id."""
    labels = variants([json.loads(trial.spec_json) for trial in trials])
    return {trial.id: label for trial, label in zip(trials, labels, strict=True)}


def variants(specs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Variants of some trials, given as the JSON of their specs. An example is `vae width=8 imp rewind=2`.

    A variant has the model, data set and method, each only if it differs between the trials, and after each its options
    that differ. Then come all other settings that differ. Trials that differ only in sparsity and seed have the same
    variant.
    """
    kinds = [tuple(_said(spec)) for spec in specs]
    labels = _labels(dict.fromkeys(kinds))
    return [labels[kind] for kind in kinds]


def _numbers(trial: Trial) -> str:
    sparsity = f" {trial.sparsity:.4g}" if trial.method.sparse else ""
    return f"{sparsity} seed {trial.seed.init}/{trial.seed.order}"


def _labels(kinds: Mapping[_Kind, None]) -> dict[_Kind, str]:
    values = {kind: dict(kind) for kind in kinds}
    names = list(dict.fromkeys(name for kind in kinds for name, _ in kind))
    words: dict[_Kind, tuple[str, ...]] = dict.fromkeys(kinds, ())
    for noun in (*_NOUNS, ""):
        told = {kind: (*words[kind], values[kind][noun]) if noun else words[kind] for kind in kinds}
        for name in (each for each in names if each != noun and _noun(each) == noun):
            told = _told(told, {kind: values[kind].get(name) for kind in kinds}, _short(name))
        differ = len(set(told.values())) > len(set(words.values()))
        words = told if differ else words
    if not all(words.values()):  # name the method of each, so that no label is empty
        words = {kind: (values[kind]["method"], *said) for kind, said in words.items()}
    return {kind: " ".join(said) for kind, said in words.items()}


def _told(
    words: Mapping[_Kind, tuple[str, ...]], values: Mapping[_Kind, Any], name: str
) -> dict[_Kind, tuple[str, ...]]:
    """Add a value to the words of trials whose words are equal and whose values differ."""
    alike = defaultdict(set)
    for kind, said in words.items():
        alike[said].add(values[kind])
    differing = {said for said, those in alike.items() if len(those) > 1}
    return {
        kind: (*said, f"{name}={values[kind]}") if said in differing and values[kind] is not None else said
        for kind, said in words.items()
    }


def _said(spec: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    method = spec["method"]
    finder = method.get("of", method)
    yield from ((noun, spec[noun]["name"]) for noun in _NOUNS)
    yield from (("of", finder["name"]), ("rewind", finder.get("rewind", 0)))
    for name, value in raw_options(spec):
        yield from _plain(name, value)
    for name, value in spec.items():
        if name not in {*_NOUNS, *_UNSAID, "recipe"}:
            yield from _plain(name, value)


def _plain(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Flatten a value: a mapping becomes one pair for each plain value inside, with a dotted name."""
    if isinstance(value, Mapping):
        for part, inner in value.items():
            yield from _plain(f"{name}.{part}", inner)
    else:
        yield name, "+".join(map(str, value)) if isinstance(value, list | tuple) else value


def _noun(name: str) -> str:
    """The noun (model, dataset or method) that has the option `name`, or an empty text."""
    noun = name.partition(".")[0]
    return "method" if noun in ("source", "of", "rewind") else noun if noun in _NOUNS else ""


def _short(name: str) -> str:
    noun, _, option = name.partition(".")
    return option if option and noun not in ("source", "code") else name
