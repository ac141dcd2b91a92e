"""The actor that runs trials: a process with its share of a machine, which lives as long as it has work."""

from __future__ import annotations

import logging
import pickle
import platform
import queue
import threading
import traceback
from collections.abc import Iterator
from dataclasses import dataclass

import ray

from search_spaces.datasets import DatasetSpec
from search_spaces.trial import Trial
from workers import data
from workers.data import Split
from workers.lab.points import Wanted
from workers.profiles.profile import Profile
from workers.reports import Report, TrialLeft, Warned
from workers.store.backends import StoreError, open_store


@dataclass(frozen=True, slots=True)
class Ready:
    """The first message of an actor: the node on which it lives."""

    node: str


@dataclass(frozen=True, slots=True)
class RanOutOfMemory:
    trial_id: str
    error: str


@dataclass(frozen=True, slots=True)
class StoreBroke:
    """The actor cannot read or write the store."""

    trial_id: str
    error: str


@dataclass(frozen=True, slots=True)
class Crashed:
    """tombola itself failed in the actor."""

    trial_id: str
    error: str


Message = Ready | Report | RanOutOfMemory | StoreBroke | Crashed


class TrialActor:
    """Runs one trial at a time. Its messages come out of `messages`, in batches, for as long as it lives."""

    # Torch is imported with a trial and not with this module, because the driver imports this module.

    def __init__(self, store_uri: str) -> None:
        self._store = open_store(store_uri)
        self._said: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._asked_to_stop = threading.Event()
        self._image_refs: dict[DatasetSpec, list[ray.ObjectRef[Split]]] = {}
        logging.getLogger("tombola").addHandler(_Teller(self._said))

    @ray.method(concurrency_group="messages", num_returns="streaming")
    def messages(self) -> Iterator[list[Message]]:
        yield [Ready(ray.get_runtime_context().get_node_id())]
        while True:
            batch = [self._said.get()]
            while not self._said.empty():
                batch.append(self._said.get())
            yield batch

    @ray.method(concurrency_group="control")
    def stop(self) -> None:
        """Ask the running trial to leave after its current epoch."""
        self._asked_to_stop.set()

    def lend(self, dataset: DatasetSpec, images: list[ray.ObjectRef[Split]]) -> None:
        """Tell the actor where the images of a data set lie in the object stores of the cluster."""
        self._image_refs[dataset] = images

    def profile(self, trial: Trial) -> Profile:
        from workers.profiles.measuring import profile_or_unknown

        return profile_or_unknown(trial, self._store)

    def run(self, pickled: bytes, witness: str | None) -> None:
        """Run a pickled trial; `wanted`, pickled with it, has what the plan needs of its lines.

        If the store has no object `witness`, the driver has another store, and the actor reports StoreBroke.
        """
        trial: Trial
        wanted: Wanted
        trial, wanted = pickle.loads(pickled)
        try:
            if witness is not None and self._store.get(witness) is None:
                raise StoreError(
                    f"--store {self._store.uri}: machine {platform.node()} does not see what is there; give a folder "
                    f"that all machines of the cluster share"
                )
            self.perform(trial, wanted)
        except StoreError as error:
            self._said.put(StoreBroke(trial.id, str(error)))
        except Exception:  # noqa: BLE001 - the driver is told, and ends the sweep with this error
            self._said.put(Crashed(trial.id, traceback.format_exc()))

    def perform(self, trial: Trial, wanted: Wanted) -> None:
        from workers.endings import Interrupted, OutOfMemory
        from workers.trial import run_trial

        try:
            run_trial(trial, self._store, wanted, self.say, self._asked_to_stop.is_set, self._images)
        except Interrupted:
            self.say(TrialLeft(trial.id, "asked to stop"))
        except OutOfMemory as error:
            self.say(RanOutOfMemory(trial.id, str(error)))

    def say(self, message: Message) -> None:
        self._said.put(message)

    def _images(self, dataset: DatasetSpec) -> Split:
        """Images of a data set, from memory that all actors of a node share. If none are lent, from the files."""
        if dataset not in self._image_refs:
            return data.load(dataset)
        (images,) = self._image_refs[dataset]
        try:
            return ray.get(images)
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None


class _Teller(logging.Handler):
    """Passes warnings on to the driver."""

    def __init__(self, said: queue.SimpleQueue[Message]) -> None:
        super().__init__(logging.WARNING)
        self._said = said

    def emit(self, record: logging.LogRecord) -> None:
        self._said.put(Warned(record.getMessage()))
