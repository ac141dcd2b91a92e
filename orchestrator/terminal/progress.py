"""Progress: what a person sees while a sweep runs."""

from __future__ import annotations

import time
from collections import Counter
from types import TracebackType
from typing import assert_never

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.table import Column
from rich.text import Text

from orchestrator.labels import labels_of
from orchestrator.planning.plan import PlannedTrial
from orchestrator.planning.work import Work
from orchestrator.pricing.expected import Expected
from workers.lab.stages import Emerge
from workers.reports import EpochTrained, Report, StageCommitted, TrialEnded, TrialLeft, TrialStarted, Warned

PLAIN_EVERY = 5.0
"""Least seconds between two lines about epochs if the output is not a terminal."""


class SweepProgress:
    """Shows an overall bar and a line for each running trial; plain lines if the output is not a terminal.

    The time left is the expected time of all missing work, including measuring, scaled by the speed so far. So it takes
    into account how many trials run at once.
    """

    def __init__(self, console: Console, work: Work, expected: Expected) -> None:
        self._console, self._work = console, work
        self._labels = labels_of([planned.trial for planned in work.trials])
        self._seconds = expected.epochs
        self._stages = {key: s for key, s in expected.stages.items() if key not in work.inventory.held}
        self._trials = dict(expected.trials)
        self._needed = Counter(key for planned in work.trials for key in (*planned.stages, *planned.ends))
        self._ends = {line: end.most for line, end in work.plan.ends.items()}
        self._missing = {line: n for line, n in work.inventory.missing_epochs.items() if line in expected.epochs}
        self._epochs = sum(self._missing.values())
        self.trained = 0
        self._expected = expected.remaining(work.inventory, work.by_id).seconds
        self._done = 0.0
        self._ended: dict[str, int] = {"done": 0, "failed": 0, "diverged": 0, "no_ticket": 0}
        self._began: float | None = None
        self._searched: set[str] = set()
        self._spoke = time.monotonic()
        # A narrow terminal cuts names and notes, but never the time left.
        self._bar = Progress(
            _Shortened("description"),
            BarColumn(bar_width=min(20, console.width // 8)),
            MofNCompleteColumn(table_column=Column(no_wrap=True)),
            TextColumn("{task.fields[left]}", table_column=Column(no_wrap=True)),
            _Shortened("note"),
            console=console,
            disable=not console.is_terminal,
        )
        self._overall: TaskID = self._bar.add_task("epochs", total=max(self._epochs, 1), left="", note="")
        self._running: dict[str, TaskID] = {}

    def __enter__(self) -> SweepProgress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    @property
    def all_ended(self) -> bool:
        return sum(self._ended.values()) == len(self._work.trials)

    def listen(self, report: Report) -> None:
        match report:
            case TrialStarted(trial_id):
                self._began = self._began or time.monotonic()
                self._drop(trial_id)
                self._running[trial_id] = self._bar.add_task(self._label(trial_id), total=None, left="", note="")
            case EpochTrained():
                self._epoch(report)
            case TrialEnded(trial_id, status, error):
                self._drop(trial_id)
                self._end(trial_id)
                self._ended[status] += 1
                if status != "done" or not self._console.is_terminal:
                    self._say(f"{status:8} {trial_id} {self._label(trial_id)}{': ' if error else ''}{error}")
            case TrialLeft(trial_id, why):
                self._drop(trial_id)
                self._say(f"left     {trial_id} {self._label(trial_id)}: {why}")
            case Warned(text):
                self._say(text)
            case StageCommitted(_, stage):
                self._done += self._stages.pop(stage, 0.0)
                self._emerged(stage)
            case _:
                assert_never(report)
        done, left = self._epochs - self._left_epochs(), f"{duration(self._left())} left"
        self._bar.update(self._overall, completed=done, left=left, note=self._standing())

    def _emerged(self, key: str) -> None:
        """Note that a mask has emerged. After the last one on a line, only the points of the line are left to train."""
        stage = self._work.plan.stages.get(key)
        if isinstance(stage, Emerge):
            self._searched.add(key)
            line = stage.line.key
            if all(other.key in self._searched for other in self._work.wanted.emerging[line]):
                beyond = self._ends[line] - max(self._work.points.get(line, {}), default=0)
                self._missing[line] = max(0, self._missing[line] - beyond)

    def _epoch(self, report: EpochTrained) -> None:
        self.trained += 1
        self._done += self._seconds[report.line]
        self._missing[report.line] = min(self._missing[report.line], self._ends[report.line] - report.epoch)
        planned = self._work.by_id[report.trial_id]
        losses = " ".join(f"{name} {value:.4g}" for name, value in report.means.items())
        note, left = f"{_place(planned, report.line)}, {losses}", f"{duration(self._trial_left(planned))} left"
        task = self._running.get(report.trial_id)
        if task is not None:
            self._bar.update(task, completed=report.epoch, total=report.end, left=left, note=note)
        if not self._console.is_terminal and time.monotonic() - self._spoke >= PLAIN_EVERY:
            done = self._epochs - self._left_epochs()
            all_left = f"{self._standing()}, {duration(self._left())} left"
            epoch = f"epoch {report.epoch}/{report.end}, {note}, {left}"
            self._say(f"{self._label(report.trial_id)}  {epoch}  |  {done}/{self._epochs} {all_left}")

    def _end(self, trial_id: str) -> None:
        """Note that a trial has ended, and drop the work that only this trial needed."""
        self._done += self._trials.pop(trial_id, 0.0)
        ended = self._work.by_id[trial_id]
        for key in ended.stages:
            self._needed[key] -= 1
            if not self._needed[key]:
                self._stages.pop(key, None)
        for line in ended.ends:
            self._needed[line] -= 1
            if not self._needed[line]:
                self._epochs -= self._missing[line]
                self._missing[line] = 0
        self._bar.update(self._overall, total=max(self._epochs, 1))

    def _left_epochs(self) -> int:
        return sum(self._missing.values())

    def _trial_left(self, planned: PlannedTrial) -> float:
        """Seconds of work left for a trial: to train its lines as far as it needs them, and for everything else."""
        training = sum(
            max(0, self._missing[line] - (self._ends[line] - end.most)) * self._seconds[line]
            for line, end in planned.ends.items()
        )
        return training + sum(self._stages.get(key, 0.0) for key in planned.stages) + self._trials[planned.trial.id]

    def _standing(self) -> str:
        ended = sum(self._ended.values())
        failed = ended - self._ended["done"]
        without = f", {failed} without a result" if failed else ""
        return f"{ended}/{len(self._work.trials)} trials ended, {len(self._running)} running{without}"

    def _left(self) -> float:
        training = sum(epochs * self._seconds[line] for line, epochs in self._missing.items())
        remaining = training + sum(self._stages.values()) + sum(self._trials.values())
        workers = max(1, len(self._running))
        if self._began is None:
            return remaining / workers
        # The expected speed counts as if it had been observed for a tenth of the work, because early reports are few.
        prior = self._expected / 10
        took = time.monotonic() - self._began + prior / workers
        return remaining * took / (self._done + prior) if self._done + prior else 0.0

    def _drop(self, trial_id: str) -> None:
        if trial_id in self._running:
            self._bar.remove_task(self._running.pop(trial_id))

    def _label(self, trial_id: str) -> str:
        return self._labels[trial_id]

    def _say(self, text: str) -> None:
        self._console.print(text, highlight=False, soft_wrap=True, markup=False)
        self._spoke = time.monotonic()


class _Shortened(ProgressColumn):
    """A field of each task, cut at its end if there is not enough room."""

    def __init__(self, field: str) -> None:
        super().__init__()
        self._field = field

    def render(self, task: Task) -> Text:
        text = task.description if self._field == "description" else task.fields[self._field]
        return Text(text, no_wrap=True, overflow="ellipsis")


def _place(planned: PlannedTrial, line: str) -> str:
    """Which of the trainings of a trial a line is, as in `training 2/3`."""
    return f"training {list(planned.ends).index(line) + 1}/{len(planned.ends)}"


def duration(seconds: float) -> str:
    """Format a time in seconds for people: 41s, 2m05s, 3h20m."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes:02d}m"
    return f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"
