"""Handlers of the stages that measure models, and of those that make the classifiers and features for it."""

from __future__ import annotations

import time
from dataclasses import replace

import torch

from search_spaces.trial import Distances
from workers import data, device
from workers.bench import Context
from workers.endings import Interrupted
from workers.evaluation import classifiers, evaluate, instruments
from workers.evaluation.downstream import Judge
from workers.evaluation.feature_set import feature_set
from workers.evaluation.samples import BATCH, Yardstick
from workers.lab.laboratory import SELECTION
from workers.lab.stages import Evaluate, Features, Fit, Select
from workers.measures.metrics import METRICS


class FitHandler:
    def __init__(self, context: Context) -> None:
        self._context = context

    def holds(self, stage: Fit) -> bool:
        return self._context.archive.objects.read(stage.object) is not None

    def make(self, stage: Fit) -> None:
        context = self._context
        card, split = data.card(stage.dataset), context.load(stage.dataset)
        assert split.train_labels is not None
        assert split.held_out_labels is not None
        classifier = classifiers.untrained(stage.network, card, context.device)
        images, labels = context.on_device(split.train), context.on_device(split.train_labels).long()
        for _ in classifiers.fit(stage.network, classifier, images, labels):
            if context.stop():
                raise Interrupted
        held_out, truth = context.on_device(split.held_out), context.on_device(split.held_out_labels).long()
        classifiers.check(stage.network, classifiers.accuracy(classifier, held_out, truth))
        context.archive.objects.commit(stage.object, classifiers.pack(classifier))


class FeaturesHandler:
    def __init__(self, context: Context) -> None:
        self._context = context

    def holds(self, stage: Features) -> bool:
        """Whether the store has features of real images from the same weights that the fakes' features will be from.

        Features from other weights are removed.
        """
        store = self._context.archive.store
        found = instruments.real_features(store, stage.key)
        if found is None:
            return False
        if found.network == _network(self._context, stage.distances).sha256:
            return True
        instruments.forget_features(store, stage.key)
        return False

    def make(self, stage: Features) -> None:
        network = _network(self._context, stage.distances)
        images = part_of(self._context, stage.part, stage.samples)
        found = feature_set(images.split(BATCH), network.extractor)
        self._context.archive.objects.commit(stage.object, replace(found, network=network.sha256).pack())


class EvaluateHandler:
    def __init__(self, context: Context) -> None:
        self._context = context

    def holds(self, stage: Evaluate) -> bool:
        return self._context.archive.evaluation(stage.key) is not None

    def make(self, stage: Evaluate) -> None:
        context, began = self._context, time.perf_counter()
        images = part_of(context, stage.part, stage.evaluation.samples)
        family, yardstick = context.family_at(stage.state), _yardstick(context, stage)
        metrics, pictures = evaluate(family, images, stage.evaluation, yardstick, judge_of(context, stage), stage.part)
        machine = device.describe(context.device)
        fact = {"metrics": metrics, "seconds": time.perf_counter() - began, "machine": machine}
        if yardstick:
            fact["network"] = yardstick.real.network
        context.archive.commit_evaluation(stage.key, fact, pictures)


class SelectHandler:
    def __init__(self, context: Context) -> None:
        self._context = context

    def holds(self, stage: Select) -> bool:
        """Whether the store knows the best state and still has its evaluation."""
        archive = self._context.archive
        fact = archive.selection(stage.key)
        return fact is not None and archive.evaluation(fact["evaluation"]) is not None

    def make(self, stage: Select) -> None:
        archive = self._context.archive
        facts = [archive.evaluation(candidate.key) for candidate in stage.candidates]
        values = [fact["metrics"][stage.by] for fact in facts if fact is not None]
        assert len(values) == len(facts), "what a selection needs is there before it is made"
        reported = stage.reported[METRICS[stage.by].best_of(values)]
        measuring = EvaluateHandler(self._context)
        if not measuring.holds(reported):
            measuring.make(reported)
        fact = {"by": stage.by, "values": values, "epoch": reported.state.epoch, "evaluation": reported.key}
        archive.objects.commit_fact(stage.object, fact)


def _network(context: Context, distances: Distances) -> instruments.Network:
    return instruments.network(context.archive.store, distances, context.device)


def _yardstick(context: Context, stage: Evaluate) -> Yardstick | None:
    if stage.features is None:
        return None
    real = instruments.real_features(context.archive.store, stage.features)
    assert real is not None, "what an evaluation needs is there before it is made"
    return Yardstick(_network(context, stage.evaluation.distances).extractor, real)


def judge_of(context: Context, stage: Evaluate) -> Judge | None:
    if stage.classifier is None:
        return None
    channels = context.card.image[0]
    network = instruments.classifier(context.archive.store, stage.classifier, "resnet18", channels, context.device)
    labels = context.load(context.trial.dataset).held_out_labels
    assert labels is not None
    return Judge(network, context.on_device(labels[: stage.evaluation.samples]).long())


def part_of(context: Context, part: str, count: int) -> torch.Tensor:
    """The first `count` images of a part of the data; for the selection of an epoch, the last held-out images."""
    if part == "train":
        return context.train_images[:count]
    held_out = context.load(context.trial.dataset).held_out
    return context.on_device(held_out[-count:] if part == SELECTION else held_out[:count])
