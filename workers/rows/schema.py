"""The columns of the datasets, and writing rows as Parquet: one file for each trial and dataset."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import pyarrow as pa

from search_spaces.base.canonical import canonical_json, digest
from search_spaces.columns import built_in, options
from search_spaces.methods import Control
from search_spaces.transfer import Transfer, datasets_of
from search_spaces.trial import Trial
from workers import __version__, data
from workers.measures.metrics import METRICS
from workers.store import names
from workers.store.backends import Store
from workers.store.parquet import packed


def _schema(*columns: tuple[str, pa.DataType, str]) -> pa.Schema:
    return pa.schema([pa.field(name, kind, metadata={"meaning": meaning}) for name, kind, meaning in columns])


TEXT, WHOLE, REAL = pa.string(), pa.int64(), pa.float64()
OPTIONS = built_in()
"""The columns of options, by their names in a sweep. A plugin's own options are only in the column `spec`."""
_ARROW = {str: TEXT, int: WHOLE, float: REAL, bool: pa.bool_()}

TRIALS = _schema(
    ("trial_id", TEXT, "identity of the trial: 16 hex digits of the SHA-256 of its spec"),
    (
        "status",
        TEXT,
        "`done`, `failed` (an error), `diverged` (a number stopped being finite) or `no_ticket` (none emerged)",
    ),
    ("error", TEXT, "why it failed or diverged, naming the stage; empty when done"),
    ("traceback", TEXT, "the whole traceback of an error"),
    ("model", TEXT, "name of the model"),
    ("dataset", TEXT, "name of the data set"),
    ("method", TEXT, "name of the ticket finder or control"),
    ("of", TEXT, "for a control, the finder whose ticket it changes"),
    ("source", TEXT, "for a ticket that moved, the id of the trial, or of the imported ticket, that it comes from"),
    ("sparsity", REAL, "target: fraction of the prunable weights to remove"),
    ("seed_init", WHOLE, "seed of initialisation and of random controls"),
    ("seed_order", WHOLE, "seed of the order of batches and of latents"),
    ("epochs", WHOLE, "epoch at which training ends"),
    ("rewind", WHOLE, "epoch of the dense trajectory that the finder's ticket is rewound to; 0 where it is not"),
    *((name, _ARROW[kind], f"option of the {name.partition('.')[0]}") for name, kind in OPTIONS.items()),
    ("achieved_sparsity", REAL, "fraction of the prunable weights that the mask removes"),
    ("prunable", WHOLE, "number of prunable weights"),
    ("kept", WHOLE, "number of prunable weights that the mask keeps"),
    ("parameters", WHOLE, "number of all parameters of the network without its mask, biases and norms too"),
    (
        "parameters_kept",
        WHOLE,
        "number of them that are left with the mask, whole channels gone with all that is theirs",
    ),
    ("channel_sparsity", REAL, "fraction of all hidden channels that the mask removes whole"),
    ("layer_collapse", TEXT, "names of the tensors that the mask empties, with commas between them"),
    (
        "unmapped",
        TEXT,
        "for a mask that moved, the roles of kernels that it is not of, which stay dense, with commas between them",
    ),
    ("scored_by", TEXT, "what the kept weights or channels were ranked by; empty where they were not"),
    (
        "tied_share",
        REAL,
        "fraction of the kept weights or channels that a draw among equal scores chose, of IMP in its last round",
    ),
    ("emergence_epoch", WHOLE, "epoch at which an early-bird mask emerged"),
    *((name, REAL, metric.meaning) for name, metric in METRICS.items()),
    ("samples", WHOLE, "held-out images, and fakes for `fake_accuracy`, that the metrics are computed on"),
    ("features", TEXT, "network whose features the distances are measured in: `inception`, `fashion` or `effnet`"),
    ("features_weights", TEXT, "SHA-256 of its weights"),
    ("distance_samples", WHOLE, "fakes, and real images, that the distances are measured between"),
    ("distance_reference", TEXT, "part of the data set that those real images are from: `held_out` or `train`"),
    ("best_epoch", WHOLE, "epoch of the ticket's training that was best on images that nothing else is measured on"),
    ("selected_by", TEXT, "metric by which it was best there"),
    ("best_score", REAL, "that metric at that epoch, on the images that the other metrics are computed on"),
    ("search_epochs", WHOLE, "epochs that finding the mask takes, as if nothing were shared"),
    ("search_seconds", REAL, "seconds that those epochs, and scoring, took where they were done"),
    ("search_cpu_seconds", REAL, "seconds of CPU time of the same"),
    ("search_flops", REAL, "FLOPs of the same"),
    ("ticket_epochs", WHOLE, "epochs that training the ticket from its start state takes"),
    ("ticket_seconds", REAL, "seconds that those epochs took where they were trained"),
    ("ticket_cpu_seconds", REAL, "seconds of CPU time of the same"),
    ("ticket_flops", REAL, "FLOPs of the same, as they were executed"),
    ("dense_step_flops", REAL, "FLOPs of a training step of the trial's model without a mask"),
    ("ticket_step_flops", REAL, "FLOPs of a training step of the ticket as it is executed: without removed channels"),
    ("sparse_step_flops", REAL, "FLOPs that a training step would take if only kept weights cost any"),
    ("start_key", TEXT, "key of the state that the ticket starts from: line@epoch"),
    (
        "moments_key",
        TEXT,
        "key of the state whose optimizer moments the ticket's training begins with; empty if its optimizer is fresh",
    ),
    ("mask_key", TEXT, "key of the mask"),
    ("final_key", TEXT, "key of the trained ticket: line@epoch"),
    ("evaluation_key", TEXT, "key of what was measured; its pictures have the same key"),
    ("evaluation", TEXT, "how it was measured, as JSON"),
    ("spec", TEXT, "the whole trial as JSON; `Trial.model_validate_json` restores it"),
    ("data_fingerprint", TEXT, "SHA-256 of the content, split and transform of the data"),
    ("source_fingerprint", TEXT, "the same of the data of the source, if there is one; of several with commas between"),
    ("tombola", TEXT, "version of tombola that made the row"),
    ("torch", TEXT, "version of torch that trained the ticket's last segment"),
    ("host", TEXT, "machine that trained it"),
    ("device", TEXT, "device that trained it: `cpu`, or the name of the GPU"),
    ("threads", WHOLE, "CPU threads that trained it"),
    ("peak_bytes", WHOLE, "most memory used meanwhile: by torch on a GPU, on a CPU by the whole process"),
    ("finished", pa.timestamp("us", "UTC"), "when the row was made"),
)

HISTORY = _schema(
    ("trial_id", TEXT, "the trial"),
    ("line", TEXT, "key of the trajectory"),
    ("position", WHOLE, "place of the trajectory in the trial's search, from 0; for IMP the round"),
    ("ticket", pa.bool_(), "whether the epoch is part of the ticket's own training"),
    ("epoch", WHOLE, "number of the epoch, from 1"),
    ("quantity", TEXT, "what was logged: a loss or a term of it, `seconds`, `cpu_seconds` or `distance_from_<epoch>`"),
    (
        "value",
        REAL,
        "mean over updates; for seconds the total, for a distance that of this epoch's mask from that epoch's",
    ),
)

MASKS = _schema(
    ("trial_id", TEXT, "the trial"),
    ("parameter", TEXT, "name of the tensor: component and path inside it"),
    ("component", TEXT, "`encoder`, `decoder`, `discriminator` or `generator`"),
    ("role", TEXT, "name of the tensor in the architecture, by which masks move between models"),
    ("shape", pa.list_(pa.field("element", WHOLE)), "shape of the tensor"),
    ("weights", WHOLE, "number of weights in the tensor"),
    ("kept", WHOLE, "number of them that the mask keeps"),
    ("mask", pa.binary(), "the mask of this tensor, as `Mask.unpack` reads it"),
)

SCORES = _schema(
    ("trial_id", TEXT, "the trial"),
    ("epoch", WHOLE, "the epoch of the ticket's training that was measured"),
    ("images", TEXT, "`held_out`: those that are reported on; `selection`: those by which the best epoch is selected"),
    ("last", pa.bool_(), "whether training ended there"),
    ("best", pa.bool_(), "whether that epoch was selected as the best"),
    ("metric", TEXT, "name of the metric; the columns of `trials` say what it means"),
    ("value", REAL, "its value"),
    ("evaluation_key", TEXT, "key of the measurement"),
)

SCHEMAS = {names.TRIALS: TRIALS, names.SCORES: SCORES, names.HISTORY: HISTORY, names.MASKS: MASKS}


def row_name(dataset: str, trial: Trial) -> str:
    """The name of the file with the rows of a trial. It differs for each evaluation of the trial."""
    return names.rows(dataset, trial.id, digest(trial.evaluation.model_dump()))


def fingerprints(trial: Trial) -> dict[str, str | None]:
    """The fingerprints of the data that a trial trains on, and of the data of its source.

    Raises:
        DataError: if some of the data is missing.
    """
    own, *others = (data.card(dataset).fingerprint for dataset in datasets_of(trial))
    return {"data_fingerprint": own, "source_fingerprint": ",".join(others) or None}


def identity(trial: Trial) -> dict[str, Any]:
    """The columns of a trial's row that are known before it runs."""
    return {
        "trial_id": trial.id,
        "model": trial.model.title,
        "dataset": trial.dataset.name,
        "method": trial.method.name,
        "of": trial.method.of.name if isinstance(trial.method, Control) else None,
        "source": trial.finder.source.id if isinstance(trial.finder, Transfer) else None,
        "sparsity": trial.sparsity,
        "seed_init": trial.seed.init,
        "seed_order": trial.seed.order,
        "epochs": trial.epochs,
        "rewind": trial.rewind,
        **_options(trial),
        "evaluation": canonical_json(trial.evaluation.model_dump()),
        "spec": trial.spec_json,
        **fingerprints(trial),
        "tombola": __version__,
        "finished": datetime.now(UTC),
    }


def _options(trial: Trial) -> dict[str, Any]:
    """The options that have columns. The column stays empty if a plugin's option of that name has another type."""
    given = options(json.loads(trial.spec_json))
    return {name: given[name] for name, kind in OPTIONS.items() if _is(given.get(name), kind)}


def _is(value: Any, kind: type) -> bool:
    return type(value) in ((int, float) if kind is float else (kind,))


def write_unsuccessful(
    store: Store,
    trial: Trial,
    status: str,
    error: str,
    traceback: str,
    known: Mapping[str, Any] = MappingProxyType({}),
    history: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Write the row of a trial without a result, with the columns that are `known`, and its history if it has one."""
    row = {**identity(trial), "status": status, "error": error, "traceback": traceback, **known}
    write_rows(store, trial, {names.TRIALS: [row]} | ({names.HISTORY: history} if history else {}))


def write_rows(store: Store, trial: Trial, rows: Mapping[str, Iterable[Mapping[str, Any]]]) -> None:
    """Write the rows of a trial. Those of `trials` come last, because their file marks the trial as complete."""
    for dataset in sorted(rows, key=lambda name: name == names.TRIALS):
        store.put_if_absent(row_name(dataset, trial), packed(rows[dataset], SCHEMAS[dataset]))
