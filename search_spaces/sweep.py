"""A sweep: the axes of an experiment, and the trials that they span."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, partial
from itertools import product
from typing import Annotated, Any, NamedTuple

from pydantic import BeforeValidator, Field, ValidationError, field_validator

from search_spaces.base.canonical import canonical_json
from search_spaces.base.matching import Condition, checked_condition, matches, values_in
from search_spaces.base.plugins import WithPlugins
from search_spaces.base.registry import Spec
from search_spaces.base.sparsity import snapped, sparsity_after
from search_spaces.datasets import AnyDataset, DatasetSpec
from search_spaces.errors import sentence
from search_spaces.methods import IMP, AnyMethod, Method
from search_spaces.models import AnyModel, ModelSpec
from search_spaces.transfer import Transfer  # noqa: F401 - the import registers it
from search_spaces.trial import Evaluation, Recipe, Seed, Settings, Trial

TRIALS = 100_000
"""Maximum number of trials in a sweep. Planning that many takes minutes."""

COMPARISONS = 2_000_000
"""Maximum product of the number of values in all conditions of a sweep and its number of trials."""


def _sparsities(value: Any) -> Any:
    """Flatten a list of sparsities; `rounds: n` becomes the sparsities after 1 to n rounds of the grid."""
    entries = value if isinstance(value, list | tuple) else [value]
    return [sparsity for entry in entries for sparsity in _expanded(entry)]


def _expanded(entry: Any) -> list[Any]:
    if isinstance(entry, bool):
        raise ValueError(f"{str(entry).lower()} is no sparsity")
    if not isinstance(entry, Mapping):
        return [entry]
    rounds = entry.get("rounds")
    if set(entry) != {"rounds"} or type(rounds) is not int or not 1 <= rounds <= 100:
        raise ValueError("a sparsity is a number in [0, 1), or `rounds: n` with n from 1 to 100")
    return [sparsity_after(k) for k in range(1, rounds + 1)]


def _seeds(value: Any) -> Any:
    """Expand seeds: a number n means the seeds 0 to n-1; a number in a list is both `init` and `order`."""
    if type(value) is int:
        if not 1 <= value <= 100_000:
            raise ValueError(f"{value} is not a number of seeds; give 1 to 100000")
        value = list(range(value))
    if not isinstance(value, list | tuple):
        raise ValueError("must be a number of seeds, or a list of seeds")
    return [{"init": seed, "order": seed} if type(seed) is int else seed for seed in value]


_UNSAID = IMP()
"""The method of a source that names none."""


class Override(Spec):
    """Settings for the trials that match, such as `where: {model: vae}` and `set: {recipe.lr: 1e-3}`."""

    where: Annotated[dict[str, Any], BeforeValidator(checked_condition)]
    set: dict[str, Any]


class Point(NamedTuple):
    """A place on the axes of a sweep."""

    model: ModelSpec
    dataset: DatasetSpec
    method: Method
    sparsity: float
    seed: Seed


class Sweep(WithPlugins, Settings):
    """The content of a sweep file; `trials()` expands it into trials."""

    name: str = Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9._-]+$")
    models: tuple[AnyModel, ...] = Field(min_length=1)
    datasets: tuple[AnyDataset, ...] = Field(min_length=1)
    methods: tuple[AnyMethod, ...] = Field(min_length=1)
    sparsities: Annotated[tuple[float, ...], BeforeValidator(_sparsities)] = Field(default=(), max_length=TRIALS)
    seeds: Annotated[tuple[Seed, ...], BeforeValidator(_seeds)] = Field(min_length=1)
    overrides: tuple[Override, ...] = ()
    exclude: tuple[Annotated[dict[str, Any], BeforeValidator(checked_condition)], ...] = ()

    @field_validator("sparsities", mode="after")
    @classmethod
    def _on_grid(cls, sparsities: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(snapped(sparsity) for sparsity in sparsities)

    def by(self, methods: tuple[Method, ...]) -> Sweep:
        """Return the same sweep with other methods."""
        return Sweep.model_construct(
            **{**{name: getattr(self, name) for name in Sweep.model_fields}, "methods": methods}
        )

    def trials(self) -> tuple[Trial, ...]:
        """Return the trials of the sweep, in the order of its file.

        Raises:
            ValueError: if two trials are equal, no trial is left, a condition matches nothing, or a method lacks a
                sparsity or conflicts with other settings.
        """
        return self._trials

    @cached_property
    def _trials(self) -> tuple[Trial, ...]:
        self._check_size()
        settings = _SettingsByTrial(self)
        trials = tuple(
            self._trial(settings, settings.of(point), point) for point in self._points() if not settings.exclude(point)
        )
        settings.check_all_matched()
        for trial in trials:
            trial.check()
        _check_distinct(trials)
        if not trials:
            raise ValueError("exclude: nothing is left of the sweep")
        return trials

    def _check_size(self) -> None:
        """Raise ValueError if the sweep is too large to plan, before it is expanded."""
        sparse = sum(method.sparse for method in self.methods)
        points = sparse * len(self.sparsities) + len(self.methods) - sparse
        size = len(self.models) * len(self.datasets) * points * len(self.seeds)
        if size > TRIALS:
            raise ValueError(
                f"models, datasets, methods, sparsities and seeds span {size:,} trials; at most {TRIALS:,} are possible"
            )
        conditions = (*(override.where for override in self.overrides), *self.exclude)
        compared = sum(values_in(condition) for condition in conditions)
        if compared * size > COMPARISONS:
            raise ValueError(f"overrides and exclude: {compared:,} values to compare with {size:,} trials are too many")

    def _trial(self, settings: _SettingsByTrial, chosen: Settings, point: Point) -> Trial:
        return Trial.model_construct(
            model=point.model,
            dataset=point.dataset,
            method=settings.rewound(point.method, chosen.rewind).sourced(partial(self._beside, settings, point)),
            sparsity=point.sparsity,
            seed=point.seed,
            recipe=chosen.recipe,
            epochs=chosen.epochs,
            evaluation=chosen.evaluation,
            resources=chosen.resources,
            checkpoint_every=chosen.checkpoint_every,
            plugins=self.plugins,
        )

    def _beside(self, settings: _SettingsByTrial, point: Point, fields: Mapping[str, Any]) -> Trial:
        """Return the trial that differs from the one at `point` in `fields`, with the sweep's settings for that trial.

        Its method is `imp`, unless `fields` names one. Its evaluation is the default.
        """
        axes = {name: value for name, value in fields.items() if name in Point._fields}
        other = point._replace(**{"method": _UNSAID, **axes})
        chosen = settings.of(other)
        recipe = chosen.recipe
        if "recipe" in fields:
            recipe = Recipe.model_validate(recipe.model_dump() | fields["recipe"])
        own = chosen.model_copy(update={"recipe": recipe, "evaluation": Evaluation()})
        trial = self._trial(settings, own.model_copy(update={"epochs": fields.get("epochs", own.epochs)}), other)
        trial.check()
        return trial

    def _points(self) -> Iterator[Point]:
        for model, dataset, method in product(self.models, self.datasets, self.methods):
            if method.sparse and not self.sparsities:
                raise ValueError(f"sparsities: method {method.name!r} needs at least one")
            sparsities = self.sparsities if method.sparse else (0.0,)
            for sparsity, seed in product(sparsities, self.seeds):
                yield Point(model, dataset, method, sparsity, seed)


class _SettingsByTrial:
    """The settings of each trial: those of the sweep, changed by all matching overrides in order."""

    def __init__(self, sweep: Sweep) -> None:
        self._sweep = sweep
        self._base = sweep.model_dump(include=set(Settings.model_fields))
        self._cache: dict[tuple[int, ...], Settings] = {}
        self._dumped: dict[int, tuple[Spec, dict[str, Any]]] = {}
        self._rewound: dict[tuple[int, int], tuple[Method, Method]] = {}
        self._idle = {f"overrides.{i}.where" for i in range(len(sweep.overrides))}
        self._idle |= {f"exclude.{i}" for i in range(len(sweep.exclude))}
        self._of()

    def of(self, point: Point) -> Settings:
        """The settings of one trial."""
        return self._of(*self._matching("overrides.{}.where", [o.where for o in self._sweep.overrides], point))

    def rewound(self, method: Method, rewind: int) -> Method:
        """Fill in the rewind epoch that a method leaves open; equal arguments give the same object."""
        known = id(method), rewind
        if known not in self._rewound:
            self._rewound[known] = method, method.rewound(rewind)  # keeps both alive, and so the id valid
        return self._rewound[known][1]

    def exclude(self, point: Point) -> bool:
        """Whether a trial is excluded from the sweep."""
        return bool(self._matching("exclude.{}", self._sweep.exclude, point))

    def check_all_matched(self) -> None:
        if self._idle:
            raise ValueError(f"{min(self._idle)}: matches no trial of this sweep")

    def _matching(self, label: str, conditions: Sequence[Condition], point: Point) -> list[int]:
        if not conditions:
            return []
        fields = {n: self._fields_of(a) if isinstance(a, Spec) else a for n, a in point._asdict().items()}
        if point.seed.init == point.seed.order:
            # `seed: 3` means the same as in the list of seeds
            fields["seed"] = {**fields["seed"], "name": point.seed.init}
        found = [i for i, condition in enumerate(conditions) if matches(condition, fields)]
        self._idle -= {label.format(i) for i in found}
        return found

    def _fields_of(self, spec: Spec) -> dict[str, Any]:
        if id(spec) not in self._dumped:
            self._dumped[id(spec)] = spec, spec.model_dump()  # keeps the id valid, as above
        return self._dumped[id(spec)][1]

    def _of(self, *overrides: int) -> Settings:
        if overrides not in self._cache:
            values = self._base
            for i in overrides:
                for path, value in self._sweep.overrides[i].set.items():
                    values = _with(values, path.split("."), value, f"overrides.{i}.set: unknown setting {path!r}")
            try:
                self._cache[overrides] = Settings.model_validate(values)
            except ValidationError as error:
                raise ValueError(f"overrides.{overrides[-1]}.set: {sentence(error)}") from error
        return self._cache[overrides]


def _with(values: Mapping[str, Any], path: list[str], value: Any, problem: str) -> dict[str, Any]:
    head, *rest = path
    if head not in values:
        raise ValueError(f"{problem}; allowed here: {', '.join(sorted(values))}")
    if rest and not isinstance(values[head], Mapping):
        raise ValueError(f"{problem}; {head!r} has no parts")
    return {**values, head: _with(values[head], rest, value, problem) if rest else value}


def _check_distinct(trials: tuple[Trial, ...]) -> None:
    # Comparing ids would serialise every trial, which is slow. Trials share most parts: each is serialised once.
    parts: dict[int, str] = {}

    def part(spec: Spec) -> str:
        if id(spec) not in parts:
            parts[id(spec)] = canonical_json(spec.model_dump())
        return parts[id(spec)]

    seen = set()
    for trial in trials:
        seed = trial.seed.init, trial.seed.order
        specs = trial.model, trial.dataset, trial.method, trial.recipe
        what = (*map(part, specs), trial.sparsity, seed, trial.epochs)
        if what in seen:
            raise ValueError(
                f"duplicate trial: {trial.model.name} on {trial.dataset.name} by {trial.method.name} at sparsity "
                f"{trial.sparsity:g} with seed {seed[0]}/{seed[1]} is asked for twice"
            )
        seen.add(what)
