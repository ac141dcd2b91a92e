"""A session: it runs the missing trials of a sweep, and reports from the first sentence to the exit code."""

from __future__ import annotations

import pdb
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator import exit_codes, sweeps
from orchestrator.asked import Asked, planned
from orchestrator.execution.budget import Limits
from orchestrator.execution.executor import InProcess
from orchestrator.planning.inventory import take_inventory
from orchestrator.planning.plan import Plan
from orchestrator.planning.sources import remember
from orchestrator.terminal.options import Where, hint
from orchestrator.terminal.output import out, say
from orchestrator.terminal.progress import duration
from orchestrator.terminal.running import INTERRUPTED, Ran, run_missing
from orchestrator.terminal.tables import trials_table
from search_spaces import SweepError
from search_spaces.sweep import Sweep
from search_spaces.trial import Trial
from workers.reports import Listener
from workers.store.backends import Store


@dataclass(frozen=True, slots=True)
class Again:
    """Which trials to try again: failed ones, and if `diverged`, diverged ones too; `only` limits this to some ids."""

    diverged: bool = False
    only: Sequence[str] = ()

    def __post_init__(self) -> None:
        if isinstance(self.only, str):
            raise SweepError(f"only: give a list of trial ids, not the text {self.only!r}")

    @property
    def statuses(self) -> tuple[str, ...]:
        return ("failed", "diverged") if self.diverged else ("failed",)


@dataclass(frozen=True, slots=True)
class Ended:
    """Result of a session: the plan, how the trials stand, what was run, and the seconds that it took.

    `error` is the error at which a debugging executor stopped.
    """

    plan: Plan
    standing: sweeps.Standing
    ran: Ran
    seconds: float
    error: BaseException | None


@dataclass(frozen=True, slots=True)
class Session:
    """One run of a sweep in a store. `listen` gets the reports of trials."""

    asked: Asked
    store: Store
    where: Where
    limits: Limits
    listen: Listener = lambda report: None

    def run(self, again: Again | None = None) -> Ended:
        """Run the missing trials, and the trials to try `again`."""
        began = time.monotonic()
        chosen = self._chosen(again.only if again else ())
        plan, stands = planned(self.asked), self._standing()
        if again:
            stands = self._retry(plan, stands, chosen, again)
        executor, ran, error = self.where.executor(), Ran(0, 0.0, None), None
        missing = [trial for trial in stands.missing if trial.id in chosen]
        if missing:
            for settled in self.asked.told:
                say(settled)
            self.asked.record()
            remember(self.asked.says, self.store)
            with executor as place:
                ran = run_missing(plan, self.asked.sweep, missing, self.store, place, self.limits, told=self.listen)
            error = place.error if isinstance(place, InProcess) else None
            stands = self._standing()
        else:
            self.asked.record()
            sweeps.enroll(self.asked.sweep, self.asked.trials, self.store)
        return Ended(plan, stands, ran, time.monotonic() - began, error)

    def tell(self, ended: Ended, store: str, again: Again | None = None) -> int:
        """Print how the session ended and how to go on, and return the exit code.

        `store` is the store as the user named it, for the commands that are printed.
        """
        out.print(trials_table(ended.standing.rows, out.width))
        say(f"{summary(self.asked.sweep, ended.standing)}, in {duration(ended.seconds)}")
        say(_shared(ended.plan, ended.ran))
        say(f'In Python: from orchestrator import results; results.trials("{self.store.uri}")')
        if ended.error:
            pdb.post_mortem(ended.error.__traceback__)
        return self._end(ended.standing, ended.ran, store, again)

    def _chosen(self, only: Sequence[str]) -> dict[str, Trial]:
        """The trials with the ids in `only`, by id; all trials if `only` is empty.

        Raises:
            SweepError: if the sweep has no trial with such an id.
        """
        known = {trial.id: trial for trial in self.asked.trials}
        for trial_id in only:
            if trial_id not in known:
                raise SweepError(f"--trial {trial_id}: {self.asked.called} has no such trial")
        return {trial_id: known[trial_id] for trial_id in only} or known

    def _standing(self) -> sweeps.Standing:
        return sweeps.standing(self.asked.trials, self.store)

    def _retry(self, plan: Plan, stands: sweeps.Standing, chosen: Mapping[str, Trial], again: Again) -> sweeps.Standing:
        """Forget how the trials to try again ended; return how the trials stand then."""
        own = [planned for planned in plan.trials if planned.trial.id in chosen]
        stages = {key: stage for each in own for key, stage in each.stages.items()}
        with sweeps.only_driver(self.asked.sweep, self.store):  # not while another driver works on these trials
            retried = sweeps.clear_failures(chosen.values(), stages.values(), self.store, again.statuses)
        missing = take_inventory(plan, self.store).missing_epochs
        left = sum(missing[line] for line in {line for each in own for line in each.ends})
        kinds = " or ".join(again.statuses)
        found = summary(self.asked.sweep, stands)
        say(f"found {found}; trials to try again ({kinds}): {retried}; epochs left to train: {left}")
        return self._standing() if retried else stands

    def _end(self, stands: sweeps.Standing, ran: Ran, store: str, again: Again | None) -> int:
        """Print how to go on from here, and return the exit code."""
        only = (word for trial_id in (again.only if again else ()) for word in ("--trial", trial_id))
        resume = hint("resume", self.asked.called, *only, *self.where.words, store=store)
        if ran.stopped:
            say(f"Stopped: {ran.stopped}; {resume} goes on from here.")
            return exit_codes.INTERRUPTED if ran.stopped == INTERRUPTED else exit_codes.SPENT
        asked_for = set(again.only) if again and again.only else {trial.id for trial in self.asked.trials}
        failed = stands.rows[(stands.rows["status"] == "failed") & stands.rows["trial_id"].isin(asked_for)]
        if failed.empty:
            return 0
        first = failed.iloc[0]
        say(f"Failed trials: {len(failed)}, the first with: {first['error']}")
        say(f"Where it happened: {hint('error', first['trial_id'], store=store)}")
        say(f"How each trial stands: {hint('status', self.asked.called, store=store)}")
        say(f"To try them again once this is mended: {resume}")
        return exit_codes.FAILED


def _shared(plan: Plan, ran: Ran) -> str:
    alone, shared = plan.epochs_alone, plan.epochs
    helped = ran.epochs > 0 and ran.seconds_saved > 0
    saved = f", which saves about {duration(ran.seconds_saved)} of training" if helped else ""
    return (
        f"sharing: {shared:,} epochs, of which this run trained {ran.epochs:,}, stand for the {alone:,} of trials "
        f"that train alone ({plan.epochs_chained:,} as one chain a search){saved}"
    )


def summary(sweep: Sweep, stands: sweeps.Standing) -> str:
    """The number of trials of a sweep in each status, in words."""
    idle = len(stands.missing) - stands.running
    no_ticket = f"{stands.no_ticket} without a ticket, " if stands.no_ticket else ""
    return (
        f"{sweep.name}: {stands.done} done, {stands.running} running, {stands.failed} failed, "
        f"{stands.diverged} diverged, {no_ticket}{idle} missing"
    )
