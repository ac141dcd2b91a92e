"""Options of the commands, and where trials run."""

from __future__ import annotations

import shlex
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cluster.access import keep_private
from orchestrator.execution.executor import Executor, InProcess
from search_spaces import SweepError

DEFAULT_STORE = "tombola-store"

SweepFile = Annotated[Path, typer.Argument(help="A sweep, in YAML.", show_default=False)]
StoreURI = Annotated[str, typer.Option("--store", metavar="URI", help="Where everything is kept: a folder.")]
TrialID = Annotated[str, typer.Argument(help="Id of a trial: 16 hex digits.", show_default=False)]
Address = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", help="A Ray cluster to join: auto, or HOST:PORT. Left out, Ray starts here."),
]
Local = Annotated[bool, typer.Option("--local", help="One trial after the other in this process, without Ray.")]
MostWorkers = Annotated[int | None, typer.Option("--workers", min=1, metavar="N", help="At most N trials at once.")]
Debug = Annotated[
    bool, typer.Option("--pdb", help="With --local: stop at the first error, in the debugger, where it was raised.")
]
MaxHours = Annotated[float | None, typer.Option(min=0, metavar="HOURS", help="Stop after so long, to be resumed.")]
MaxGpuHours = Annotated[
    float | None, typer.Option(min=0, metavar="HOURS", help="Stop once the trials have used so much of GPUs.")
]
Download = Annotated[
    bool, typer.Option("--download", help="Fetch data sets and weights that the sweep names and that are missing.")
]
KeepCode = Annotated[
    bool, typer.Option("--keep-code", help="Changes of plugins make no difference to what the store holds.")
]


def hint(*words: str | Path, store: str) -> str:
    """A command that the user can copy and paste; it names the store unless that is the default."""
    given = () if store == DEFAULT_STORE else ("--store", store)
    return f"`{shlex.join(['tombola', *map(str, words), *given])}`"


@dataclass(frozen=True, slots=True)
class Where:
    """Where trials run, and how many at once.

    Raises:
        SweepError: if the options contradict each other.
    """

    address: str | None = None
    local: bool = False
    workers: int | None = None
    debug: bool = False

    def __post_init__(self) -> None:
        if self.local and self.address is not None:
            raise SweepError("--local and --address: give one or the other")
        if self.local and self.workers is not None:
            raise SweepError("--local and --workers: give one or the other; --local runs one trial after the other")
        if self.debug and not self.local:
            raise SweepError("--pdb needs --local: there is no terminal where Ray runs a trial")

    @property
    def words(self) -> tuple[str, ...]:
        """The command-line options with the same meaning."""
        address = () if self.address is None else ("--address", self.address)
        workers = () if self.workers is None else ("--workers", str(self.workers))
        return (*address, *(["--local"] if self.local else []), *workers)

    def executor(self) -> AbstractContextManager[Executor]:
        """The executor for these options. Entering it raises ClusterError if Ray cannot be used."""
        if self.local:
            return nullcontext(InProcess(self.debug))
        if self.address is None:
            keep_private()
        # Imported here because it loads Ray, which nothing else needs.
        from orchestrator.cluster.on_ray import OnRay

        return OnRay(self.address, most=self.workers)
