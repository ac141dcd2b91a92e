"""Progress: what a person sees while a sweep runs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from search_spaces.trial import Trial
from workers.reports import EpochTrained, Report, TrialEnded, TrialStarted

PLAIN_EVERY = 5.0
"""Seconds between two lines about epochs where the output is no terminal."""


class SweepProgress:
    """An overall bar over a line for the running trial; plain lines where the output is no terminal.

    `line_seconds` is what an epoch of each line is expected to take; the time left is that expectation for all that
    is missing, corrected by how it has held so far.
    """

    def __init__(
        self,
        console: Console,
        trials: Mapping[str, Trial],
        missing_epochs: Mapping[str, int],
        line_seconds: Mapping[str, float],
    ) -> None:
        self._console = console
        self._trials = trials
        self._expected = line_seconds
        self._epochs = sum(missing_epochs.values())
        self._seconds = sum(epochs * line_seconds[line] for line, epochs in missing_epochs.items())
        self._trained, self._trained_seconds = 0, 0.0
        self._ended: dict[str, int] = {"done": 0, "failed": 0, "diverged": 0}
        self._began = self._spoke = time.monotonic()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._overall: TaskID = self._bar.add_task("epochs", total=max(self._epochs, 1), note="")
        self._current: TaskID = self._bar.add_task("", total=None, note="", visible=False)

    def __enter__(self) -> SweepProgress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def listen(self, report: Report) -> None:
        match report:
            case TrialStarted(trial_id):
                self._bar.update(self._current, description=self._label(trial_id), visible=True, note="")
            case EpochTrained():
                self._epoch(report)
            case TrialEnded(trial_id, status, error):
                self._ended[status] += 1
                note = f": {error}" if error else ""
                if status != "done" or not self._console.is_terminal:
                    self._say(f"{status:8} {trial_id} {self._label(trial_id)}{note}")
        self._bar.update(self._overall, completed=self._trained, note=self._standing())

    def _epoch(self, report: EpochTrained) -> None:
        self._trained += 1
        self._trained_seconds += self._expected[report.line]
        losses = " ".join(f"{name} {value:.4g}" for name, value in report.means.items())
        note = f"epoch {report.epoch}/{report.end}  {losses}"
        self._bar.update(self._current, completed=report.epoch, total=report.end, note=losses)
        if not self._console.is_terminal and time.monotonic() - self._spoke >= PLAIN_EVERY:
            self._say(f"{self._label(report.trial_id)}  {note}  |  {self._trained}/{self._epochs} {self._standing()}")

    def _standing(self) -> str:
        ended, failed = sum(self._ended.values()), self._ended["failed"] + self._ended["diverged"]
        running = int(ended < len(self._trials))
        text = f"trials: {ended}/{len(self._trials)} ended, {running} running, {failed} failed or diverged"
        return f"{text}, {duration(self._left())} left"

    def _left(self) -> float:
        elapsed = time.monotonic() - self._began
        remaining = max(self._seconds - self._trained_seconds, 0.0)
        return remaining * (elapsed / self._trained_seconds if self._trained_seconds else 1.0)

    def _label(self, trial_id: str) -> str:
        return label(self._trials[trial_id])

    def _say(self, text: str) -> None:
        self._console.print(text, highlight=False, soft_wrap=True, markup=False)
        self._spoke = time.monotonic()


def label(trial: Trial) -> str:
    """A trial in a few words."""
    finder = trial.finder
    method = trial.method.name
    if finder is not None and finder is not trial.method:
        method = f"{method}({finder.name})"
    sparsity = f" {trial.sparsity:.4g}" if trial.method.sparse else ""
    return f"{trial.model.name} {trial.dataset.name} {method}{sparsity} seed {trial.seed.init}/{trial.seed.order}"


def duration(seconds: float) -> str:
    """Seconds as people say them: 41s, 2m05s, 3h20m."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes:02d}m"
    return f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"
