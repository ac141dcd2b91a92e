"""The names of everything in a store: one function for each kind of object."""

from __future__ import annotations

import hashlib
import re

OBJECTS = "objects"
STATES = "objects/states"
LEDGER = "ledger"
TRIALS, SCORES, HISTORY, MASKS = "trials", "scores", "history", "masks"
SWEEPS = "sweeps"
ROSTERS = "rosters"
RUNNING = "running"
FAILURES = "failures"

_ROWS = re.compile(rf"(({TRIALS}|{SCORES})/[0-9a-f]{{16}}-[0-9a-f]{{16}}|({HISTORY}|{MASKS})/[0-9a-f]{{16}})\.parquet")


def state(line: str, epoch: int, kept: str) -> str:
    return f"{states_of(line)}/{epoch:06d}.{kept}"


def states_of(line: str) -> str:
    return f"{STATES}/{line[:2]}/{line}"


def segment(line: str, end: int, kept: str) -> str:
    return f"{segments_of(line)}/{end:06d}.{kept}.json"


def segments_of(line: str) -> str:
    return f"{LEDGER}/{line[:2]}/{line}"


def mask(key: str) -> str:
    return f"objects/masks/{key[:2]}/{key}"


def pruning(key: str) -> str:
    return f"objects/prunings/{key[:2]}/{key}.json"


def glimpse(key: str, epoch: int) -> str:
    return f"objects/glimpses/{key[:2]}/{key}/{epoch:06d}"


def evaluation(key: str) -> str:
    return f"objects/evaluations/{key[:2]}/{key}.json"


def picture(key: str, kind: str) -> str:
    return f"objects/pictures/{key[:2]}/{key}.{kind}.png"


def selection(key: str) -> str:
    return f"objects/selections/{key[:2]}/{key}.json"


def classifier(key: str) -> str:
    return f"objects/classifiers/{key[:2]}/{key}"


def features(key: str) -> str:
    return f"objects/features/{key[:2]}/{key}"


def weights(sha256: str) -> str:
    return f"objects/weights/{sha256[:2]}/{sha256}"


def choice(key: str) -> str:
    return f"objects/choices/{key[:2]}/{key}.json"


def code(module: str, code: str) -> str:
    return f"{codes_of(module)}/{hashlib.sha256(code.encode()).hexdigest()}.json"


def codes_of(module: str) -> str:
    return f"objects/codes/{module}"


def ticket(ticket_id: str) -> str:
    return f"objects/tickets/{ticket_id}.json"


def failure(key: str) -> str:
    return f"{FAILURES}/{key[:2]}/{key}.json"


def profile(key: str) -> str:
    return f"objects/profiles/{key[:2]}/{key}.json"


def rows(dataset: str, trial_id: str, evaluation_digest: str) -> str:
    # Trials and scores depend on the evaluation of a trial; its history and mask do not.
    name = f"{trial_id}-{evaluation_digest[:16]}" if dataset in (TRIALS, SCORES) else trial_id
    return f"{dataset}/{name}.parquet"


def is_rows(name: str) -> bool:
    """Whether a name has the form of those from `rows`."""
    return _ROWS.fullmatch(name) is not None


def trial_of(name: str) -> str:
    """The id of the trial whose rows are stored under a name."""
    return name.partition("/")[2][:16]


def sweep(key: str) -> str:
    return f"{SWEEPS}/{key}.json"


def roster(key: str) -> str:
    return f"{ROSTERS}/{key}.json"


def running(trial_id: str) -> str:
    return f"{RUNNING}/{trial_id}.json"


def driver(sweep_name: str) -> str:
    return f"drivers/{sweep_name}.json"
