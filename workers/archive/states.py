"""The archive: states, masks and evaluations, by the references that the laboratory uses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import TypeAdapter
from safetensors.torch import load, save
from torch import Tensor

from search_spaces.base.canonical import canonical_json
from workers.archive.facts import Emerged, Evaluation, Pruning, Selection
from workers.archive.ledger import Ledger, SegmentRecord
from workers.lab.points import CHECKPOINT, FULL, WEIGHTS, Held
from workers.lab.references import MaskKey, State
from workers.masks import Mask
from workers.models import state as snapshot
from workers.store import names
from workers.store.backends import Store
from workers.store.objects import Objects

_record = TypeAdapter(SegmentRecord)
_DECIDED, _TIED = b"1", b"0"


@dataclass(frozen=True, slots=True)
class Point:
    """A stored state with the record of the segment that led to it. Initial states and grafts have no record."""

    tensors: dict[str, Tensor]
    record: SegmentRecord | None

    @classmethod
    def unpack(cls, payload: bytes) -> Point:
        length = int.from_bytes(payload[:8], "little")
        fact = json.loads(payload[8 : 8 + length])["__metadata__"]["record"]
        return cls(load(payload), _record.validate_json(fact) if fact else None)


class Archive:
    """Reads and commits the results of stages.

    A state contains the record of its segment. Reading a state also enters the record in the ledger, if it is missing.
    So one atomic commit is enough for both, even if a process dies in between.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.objects = Objects(store)
        self.ledger = Ledger(self.objects)

    def held(self, line: str) -> Held:
        """Return the stored points of one line."""
        return Held.parse(self.store.list(names.states_of(line))).get(line, Held())

    def point(self, state: State, *, moments: bool) -> Point | None:
        """Return a stored state, or None. With `moments`, it must have the moments that training needs to continue."""
        for kept in (FULL, CHECKPOINT) if moments else (FULL, WEIGHTS, CHECKPOINT):
            point = self.objects.parsed(names.state(state.line.key, state.epoch, kept), Point.unpack)
            if point is not None:
                if point.record:
                    self.ledger.enter(point.record)
                return point
        return None

    def commit_point(self, state: State, kept: str, point: Point) -> None:
        """Store a state, with or without moments as `kept` says, and enter its segment in the ledger."""
        tensors = snapshot.weights_only(point.tensors) if kept == WEIGHTS else point.tensors
        record = canonical_json(asdict(point.record)) if point.record else ""
        self.objects.commit(names.state(state.line.key, state.epoch, kept), save(tensors, metadata={"record": record}))
        if point.record:
            self.ledger.enter(point.record)

    def drop_checkpoints(self, line: str, before: int) -> None:
        """Remove the checkpoints of a line before epoch `before`; nothing continues from them any more."""
        for epoch in self.held(line).checkpoint:
            if epoch < before:
                self.store.delete(names.state(line, epoch, CHECKPOINT))

    def segment(self, state: State) -> SegmentRecord | None:
        """Return the record of the segment that ended at `state`, or None."""
        record = self.ledger.ending_at(state.line.key, state.epoch)
        if record is None and (point := self.point(state, moments=False)):
            record = point.record
        return record

    def mask(self, key: MaskKey) -> Mask | None:
        return self.objects.parsed(names.mask(key), Mask.unpack)

    def commit_mask(self, key: MaskKey, mask: Mask) -> None:
        self.objects.commit(names.mask(key), mask.pack())

    def pruning(self, key: MaskKey) -> Mapping[str, Any] | None:
        """Return how a mask was found: `scored_by` which score, at which cost (`flops`, `seconds`, `cpu_seconds`).

        `tied_share` is the fraction of the kept weights that was drawn among equal scores. `epoch` is the epoch of a
        mask that emerged.
        """
        return self.objects.read_fact(names.pruning(key), Pruning)

    def emergence(self, key: MaskKey) -> int | None:
        """Return the epoch at which a mask emerged, or None."""
        fact = self.objects.read_fact(names.pruning(key), Emerged)
        return None if fact is None else fact["epoch"]

    def commit_pruning(self, key: MaskKey, mask: Mask, fact: dict[str, Any]) -> None:
        """Store a mask and how it was found. The fact comes first, so that no mask is without one."""
        self.objects.commit_fact(names.pruning(key), fact)
        self.commit_mask(key, mask)

    def glimpse(self, key: MaskKey, epoch: int) -> tuple[Mask, bool] | None:
        """Return the mask that an `Emerge` stage chose at an epoch, and whether it was chosen without ties; or None."""
        return self.objects.parsed(
            names.glimpse(key, epoch), lambda payload: (Mask.unpack(payload[1:]), payload[:1] == _DECIDED)
        )

    def commit_glimpse(self, key: MaskKey, epoch: int, kept: Mask, decided: bool) -> None:
        self.objects.commit(names.glimpse(key, epoch), (_DECIDED if decided else _TIED) + kept.pack())

    def evaluation(self, key: str) -> Mapping[str, Any] | None:
        """Return the metrics that were measured under `key`, with the machine; or None."""
        return self.objects.read_fact(names.evaluation(key), Evaluation)

    def commit_evaluation(self, key: str, fact: dict[str, Any], pictures: Mapping[str, bytes]) -> None:
        for kind, picture in pictures.items():
            self.store.put_if_absent(names.picture(key, kind), picture)
        self.objects.commit_fact(names.evaluation(key), fact)

    def selection(self, key: str) -> Mapping[str, Any] | None:
        """Return the selected `epoch`, the metric `by`, its `values` at all epochs, and the key of the `evaluation`."""
        return self.objects.read_fact(names.selection(key), Selection)
