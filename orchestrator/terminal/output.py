"""Output: the consoles for sentences and tables, and the handler of warnings."""

from __future__ import annotations

import logging

from rich.console import Console
from rich.logging import RichHandler

from search_spaces.errors import shortened

out = Console(markup=False)
wide = Console(width=max(out.width, 200), markup=False)
"""Console for tables. It is wide, because tables need all their columns; a narrow terminal wraps the lines."""


def say(text: str) -> None:
    """Print sentences as they are, without wrapping, colours or markup."""
    out.print(text, highlight=False, soft_wrap=True, markup=False)


def show_warnings() -> None:
    """Send the program's warnings to standard error."""
    handler = RichHandler(console=Console(stderr=True), show_path=False, show_time=False)
    handler.setFormatter(_Shortening("%(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])


class _Shortening(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return shortened(super().format(record))
