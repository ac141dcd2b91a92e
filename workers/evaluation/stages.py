"""The examiner: makes what evaluation looks through, and looks."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from search_spaces.trial import Distances
from workers import data, device
from workers.evaluation import classifiers, evaluate, instruments
from workers.evaluation.downstream import Judge
from workers.evaluation.feature_set import feature_set
from workers.evaluation.samples import BATCH, Yardstick
from workers.lab.laboratory import SELECTION
from workers.lab.stages import Evaluate, Features, Fit, Select
from workers.leaving import Interrupted
from workers.measures.metrics import METRICS

if TYPE_CHECKING:
    from workers.workbench import Workbench


class Examiner:
    """Performs the stages of a workbench that measure."""

    def __init__(self, bench: Workbench) -> None:
        self._bench = bench
        self._archive = bench.archive

    def fit(self, stage: Fit) -> None:
        bench = self._bench
        card, split = data.card(stage.dataset), bench.load(stage.dataset)
        assert split.train_labels is not None
        assert split.held_out_labels is not None
        classifier = classifiers.untrained(stage.network, card, bench.device)
        images, labels = bench.on_device(split.train), bench.on_device(split.train_labels).long()
        for _ in classifiers.fit(stage.network, classifier, images, labels):
            if bench.stops():
                raise Interrupted
        held_out, truth = bench.on_device(split.held_out), bench.on_device(split.held_out_labels).long()
        classifiers.check(stage.network, classifiers.accuracy(classifier, held_out, truth))
        self._archive.objects.commit(stage.object, classifiers.pack(classifier))

    def has_taken(self, stage: Features) -> bool:
        """Whether features of real images are there, taken with the weights that fakes will be seen with."""
        found = instruments.real_features(self._archive.store, stage.key)
        if found is None:
            return False
        if found.network == self._network(stage.distances).sha256:
            return True
        instruments.forget_features(self._archive.store, stage.key)
        return False

    def take_features(self, stage: Features) -> None:
        network = self._network(stage.distances)
        found = feature_set(self.part(stage.part, stage.samples).split(BATCH), network.extractor)
        self._archive.objects.commit(stage.object, replace(found, network=network.sha256).pack())

    def evaluate(self, stage: Evaluate) -> None:
        began = time.perf_counter()
        images = self.part(stage.part, stage.evaluation.samples)
        family, yardstick = self._bench.family_at(stage.state), self._yardstick(stage)
        metrics, pictures = evaluate(family, images, stage.evaluation, yardstick, self._judge(stage), stage.part)
        machine = device.describe(self._bench.device)
        fact = {"metrics": metrics, "seconds": time.perf_counter() - began, "machine": machine}
        if yardstick:
            fact["network"] = yardstick.real.network
        self._archive.commit_evaluation(stage.key, fact, pictures)

    def has_selected(self, stage: Select) -> bool:
        """Whether it is known which state is best, and what was measured there is still there."""
        fact = self._archive.selection(stage.key)
        return fact is not None and self._archive.evaluation(fact["evaluation"]) is not None

    def select(self, stage: Select) -> None:
        facts = [self._archive.evaluation(candidate.key) for candidate in stage.candidates]
        values = [fact["metrics"][stage.by] for fact in facts if fact is not None]
        assert len(values) == len(facts), "what a selection needs is there before it is made"
        chosen = stage.candidates[METRICS[stage.by].best_of(values)].state
        measured = self._bench.reported_on(chosen)
        if self._archive.evaluation(measured.key) is None:
            self.evaluate(measured)
        fact = {"by": stage.by, "values": values, "epoch": chosen.epoch, "evaluation": measured.key}
        self._archive.objects.commit_fact(stage.object, fact)

    def _network(self, distances: Distances) -> instruments.Network:
        return instruments.network(self._archive.store, distances, self._bench.device)

    def _yardstick(self, stage: Evaluate) -> Yardstick | None:
        if stage.features is None:
            return None
        real = instruments.real_features(self._archive.store, stage.features)
        assert real is not None, "what an evaluation needs is there before it is made"
        return Yardstick(self._network(stage.evaluation.distances).extractor, real)

    def _judge(self, stage: Evaluate) -> Judge | None:
        if stage.classifier is None:
            return None
        bench = self._bench
        channels = bench.card.image[0]
        network = instruments.classifier(self._archive.store, stage.classifier, "resnet18", channels, bench.device)
        labels = bench.load(bench.trial.dataset).held_out_labels
        assert labels is not None
        return Judge(network, bench.on_device(labels[: stage.evaluation.samples]).long())

    def part(self, part: str, count: int) -> torch.Tensor:
        """Images of a part of the data: the first of those to train on or held out, or the last held out."""
        if part == "train":
            return self._bench.train_images[:count]
        held_out = self._bench.load(self._bench.trial.dataset).held_out
        return self._bench.on_device(held_out[-count:] if part == SELECTION else held_out[:count])
