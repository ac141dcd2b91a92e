"""Codes: the plugin code that belongs to a trial. It is settled before planning.

A store remembers all plugin code that was used with it, and which changes of code make no difference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from search_spaces.methods import Control, Method
from search_spaces.transfer import Transfer
from search_spaces.trial import Code, Trial
from workers.archive.facts import PluginCode
from workers.settling.plugin_code import CodeError, code_of, plugin_modules
from workers.store import names
from workers.store.backends import Store
from workers.store.objects import Objects


class Codes:
    """Settles the plugin code of trials: the code that is installed here.

    With `keep`, changed code counts as the code that this store used last before the change. So the results of that
    code stay valid.
    """

    def __init__(self, store: Store, *, keep: bool = False) -> None:
        self._objects = Objects(store)
        self._keep = keep
        self._settled: dict[str, str] = {}
        self._former: dict[str, str] = {}
        self._trials: list[Trial] = []

    def settle(self, trials: Iterable[Trial]) -> tuple[Trial, ...]:
        """Return the trials with their plugin code filled in, also in the trials that they take tickets from."""
        settled = tuple(self._with_code(trial) for trial in trials)
        self._trials += settled
        return settled

    @property
    def told(self) -> list[str]:
        """A sentence about changed plugin code, if trials that ended count as missing because of it; else empty."""
        orphans = self._orphans() if self._former else []
        if not orphans:
            return []
        some = ", ".join(orphans[:5]) + (", ..." if len(orphans) > 5 else "")
        return [
            f"plugins have changed ({', '.join(sorted(code_of(module) for module in self._former))}): "
            f"trials that ended were made by other code and count as missing, {len(orphans)} in all ({some}); "
            f"with --keep-code the change makes no difference"
        ]

    def check(self, trial: Trial) -> None:
        """Raise CodeError if plugins have other code here than a trial, or the source of its ticket, names."""
        here = self._code(trial)
        if here != trial.code:
            raise CodeError(
                f"trial {trial.id} belongs to plugin code {_told(trial.code)}, but here is {_told(here)}; install the "
                f"same code everywhere, or pass --keep-code if the change makes no difference"
            )
        for source in _sources(trial.method):
            self.check(source)

    def record(self) -> None:
        """Store which code is here, and which code it counts as."""
        now = datetime.now(UTC).isoformat()
        for module, counts_as in self._settled.items():
            here = code_of(module)
            known = self._known(module).get(here)
            since = known["since"] if known else now
            fact = {"code": here, "counts_as": counts_as, "since": since, "used": now}
            self._objects.replace_fact(names.code(module, here), fact)

    def _with_code(self, trial: Trial) -> Trial:
        method = _with_source(trial.method, self._with_code)
        code = trial.code or self._code(trial)
        return trial if (method, code) == (trial.method, trial.code) else trial.changed(method=method, code=code)

    def _code(self, trial: Trial) -> Code | None:
        parts = {part: [self._counts_as(m) for m in modules] for part, modules in plugin_modules(trial).items()}
        return Code(**{part: ", ".join(codes) for part, codes in parts.items()}) if parts else None

    def _counts_as(self, module: str) -> str:
        if module not in self._settled:
            self._settled[module] = self._settle(module)
        return self._settled[module]

    def _settle(self, module: str) -> str:
        """Return what the code of a module counts as: itself, or a former code, because of `keep` now or earlier."""
        here, known = code_of(module), self._known(module)
        own = known.get(here)
        before = [f for f in known.values() if f["code"] != here and (own is None or f["since"] < own["since"])]
        former = max(before, key=lambda fact: fact["used"])["counts_as"] if before else None
        if own and not (self._keep and former and own["counts_as"] == here):
            return own["counts_as"]
        if former and self._keep:
            return former
        if former:
            self._former[module] = former
        return here

    def _known(self, module: str) -> dict[str, PluginCode]:
        """Return what the store remembers about a module, by code."""
        listed = list(self._objects.store.list(names.codes_of(module)))
        facts = [self._objects.read_fact(name, PluginCode) for name in listed]
        return {fact["code"]: fact for fact in facts if fact}

    def _orphans(self) -> list[str]:
        """List the trials that ended in the store with the former code of modules that have changed."""
        ended = {names.trial_of(name) for name in self._objects.store.list(names.TRIALS)}
        then = {self._as_then(trial).id for trial in self._trials} - {trial.id for trial in self._trials}
        return sorted(then & ended)

    def _as_then(self, trial: Trial) -> Trial:
        """Return a trial with the former code of modules that have changed."""
        formerly = {self._settled[module]: former for module, former in self._former.items()}
        code = trial.code and Code(
            **{part: ", ".join(formerly.get(c, c) for c in own.split(", ")) for part, own in trial.code if own}
        )
        return trial.changed(method=_with_source(trial.method, self._as_then), code=code)


def _with_source(method: Method, change: Callable[[Trial], Trial]) -> Method:
    """Return the method, with `change` applied to the trial that it takes a ticket from, if any."""
    if isinstance(method, Control):
        return method.model_copy(update={"of": _with_source(method.of, change)})
    if not isinstance(method, Transfer) or method.source.trial is None:
        return method
    source = method.source.model_copy(update={"trial": change(method.source.trial)})
    return method.model_copy(update={"source": source})


def _sources(method: Method) -> list[Trial]:
    """Return the trial that a method takes a ticket from, as a list; empty if there is none."""
    finder = method.of if isinstance(method, Control) else method
    return [finder.source.trial] if isinstance(finder, Transfer) and finder.source.trial else []


def _told(code: Code | None) -> str:
    return "none" if code is None else "; ".join(f"{part} {own}" for part, own in code if own)
