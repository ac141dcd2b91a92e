"""Sweep files gone wrong: shipped ones with a value, or a piece of text, replaced by something hostile."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Raw:
    """Text that stands in a YAML file as it is."""

    text: str


Path = tuple[str | int, ...]
LONG = 100_000
NUMBERS = ("1e400", "-1e400", "1.0e+400", ".nan", "-.inf", "9" * 19, "9" * 5000, "-1", "0", "1e-320", "0x" + "f" * 400)
TEXTS = ("", "x" * LONG, "\x00", "a\nb", "ü" * 300, "../..", "{", "~nouser", "%s", "null", "9" * 30, "1e309", "\ud7ff")
RAW = (
    *NUMBERS,
    *("~", "true", "2020-01-01", "2020-13-45", "12:30:45", "0o17", "1_000", "!!set {a, b}", "!!binary aGVsbG8="),
    *("!!python/object:os.system x", "!!omap [{a: 1}]", "!!int x", "!!float x", "*nobody", "&a [*a]", "&a {b: *a}"),
    *("[" * 3000 + "]" * 3000, "{a: " * 200 + "1" + "}" * 200, "[", '"\\ud800"', "{<<: 3}", "{[a]: b}", "{1: 2}"),
    *("{rounds: 100}", "[{rounds: 100}]", "[vae, dcgan, sngan]", "[imp, dense, reinit]", "0.999999999999"),
    *("[[]]", "{}", "[{}]", "{name: imp, of: imp}", "{name: reinit, of: {name: reinit, of: imp}}", "[0, 0]"),
)
MILD = ("0.01", "0.5", "1", "2", "3", "7", "100", "150", "10000", "999999", "99999999", "vae", "imp", "2001-01-01")
BOMBS = (
    "bomb: [" + ", ".join(f"&b{i} [{', '.join([f'*b{i - 1}' if i else 'x'] * 10)}]" for i in range(12)) + "]\n",
    "bomb: [" + ", ".join(f"&m{i} {{<<: [{', '.join([f'*m{i - 1}'] * 4 if i else [])}]}}" for i in range(14)) + "]\n",
    "".join(f"k{i}: {i}\n" for i in range(LONG)),
    "".join("k: 1\n" for _ in range(LONG)),
    "x: &a 1\nx: &a 2\ny: *a\n",
    "? " * 500 + "\n",
    "- " * 500 + "\n",
)


def paths(value: Any, here: Path = ()) -> Iterator[Path]:
    """The place of every value in a sweep, but of its plugins, which would be imported."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, inner in items:
        if step != "plugins":
            yield (*here, step)
            yield from paths(inner, (*here, step))


def _get(sweep: Any, path: Path) -> Any:
    for step in path:
        sweep = sweep[step]
    return sweep


def _replace(sweep: Any, rng: random.Random, path: Path, value: Any) -> None:
    _get(sweep, path[:-1])[path[-1]] = value


def _hostile(sweep: Any, rng: random.Random, path: Path) -> None:
    value = rng.choice([Raw(rng.choice(RAW)), Raw(rng.choice(MILD)), Raw(rng.choice(MILD)), rng.choice(TEXTS)])
    old = _get(sweep, path)
    _replace(sweep, rng, path, [value] if isinstance(old, list) and rng.random() < 0.5 else value)


def _remove(sweep: Any, rng: random.Random, path: Path) -> None:
    del _get(sweep, path[:-1])[path[-1]]


def _rename(sweep: Any, rng: random.Random, path: Path) -> None:
    holder = _get(sweep, path[:-1])
    if isinstance(holder, dict):
        holder[rng.choice(["x" * LONG, "name", "where", "model.width", "a\nb", ""])] = holder.pop(path[-1])


def _multiply(sweep: Any, rng: random.Random, path: Path) -> None:
    """A value as a list of many: of itself, or of values that differ."""
    many, old = rng.choice([2, 100, 1000, LONG]), _get(sweep, path)
    one = old[0] if isinstance(old, list) and old else old
    vary: Callable[[int], Any] = rng.choice([lambda i: one, lambda i: i, lambda i: i / many, lambda i: str(i)])
    if isinstance(one, dict) and "name" in one and rng.random() < 0.5:
        _replace(sweep, rng, path, [{**one, "width": i + 1} for i in range(many)])
    else:
        _replace(sweep, rng, path, [vary(i) for i in range(many)])


def _swap(sweep: Any, rng: random.Random, path: Path) -> None:
    _replace(sweep, rng, path, copy.deepcopy(_get(sweep, rng.choice(list(paths(sweep))))))


def _add(sweep: Any, rng: random.Random, path: Path) -> None:
    known = ["rewind", "recipe", "overrides", "exclude", "seeds", "sparsities", "evaluation", "resources", "rate", "of"]
    holder = _get(sweep, path[:-1])
    if isinstance(holder, dict):
        holder[rng.choice(known)] = Raw(rng.choice(RAW))


def _conditions(sweep: Any, rng: random.Random, path: Path) -> None:
    where: dict[str, Any] = {rng.choice(["model", "seed", "model.width", "sparsity"]): Raw(rng.choice(RAW))}
    many = rng.choice([1, 1000, LONG // 10])
    if rng.random() < 0.5:
        sweep["exclude"] = [where] * many
    else:
        setting = rng.choice(["recipe.lr", "epochs", "evaluation.samples", "recipe.decay.to", "nothing", ""])
        sweep["overrides"] = [{"where": where, "set": {setting: Raw(rng.choice(RAW))}}] * many


def _many_seeds(sweep: Any, rng: random.Random, path: Path) -> None:
    sweep["seeds"] = rng.choice([LONG, LONG + 1, 1000, list(range(LONG)), list(range(1000))])


CHANGES = (_hostile, _hostile, _hostile, _remove, _rename, _multiply, _swap, _add, _conditions, _many_seeds)


def flow(value: Any) -> str:
    """YAML of a value, on one line but for what is raw."""
    if isinstance(value, Raw):
        return value.text
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(flow, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def mutated(sweep: dict[str, Any], rng: random.Random) -> bytes:
    """A sweep file with one to three things wrong."""
    sweep = json.loads(json.dumps(sweep))
    for _ in range(rng.choice([1, 1, 1, 2])):
        there = list(paths(sweep))
        rng.choice(CHANGES)(sweep, rng, rng.choice(there))
    text = "".join(f"{json.dumps(key)}: {flow(value)}\n" for key, value in sweep.items())
    return _torn(text, rng) if rng.random() < 0.2 else text.encode()


def _torn(text: str, rng: random.Random) -> bytes:
    """A file whose text is wrong, whatever it says."""
    at, data = rng.randrange(len(text)), text.encode()
    return rng.choice(
        [
            data[:at],
            data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :],
            data + data,
            rng.choice(BOMBS).encode() + data,
            data + rng.choice(BOMBS).encode(),
            text.encode("utf-16"),
            b"\xef\xbb\xbf" + data,
            data.replace(b"\n", b"\r"),
            b"---\n" + data + b"---\n" + data,
            b"%YAML 9.9\n" + data,
        ]
    )
