"""The base class of all errors that users see as one sentence."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pydantic import ValidationError

LENGTH = 1900
"""Maximum number of characters in a message. A message may quote input of any length."""


class TombolaError(ValueError):
    """A request that tombola cannot fulfil. The message says what, where, and what would be allowed."""

    def __str__(self) -> str:
        return shortened(super().__str__())


def shortened(message: str, length: int = LENGTH) -> str:
    """Return `message`, without its middle if it is longer than `length` characters."""
    if len(message) <= length:
        return message
    head, tail = length * 2 // 3, length // 4
    return f"{message[:head]} ... ({len(message) - head - tail:,} characters) ... {message[-tail:]}"


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its type if the message is empty."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def typed_line(error: BaseException) -> str:
    """The type of an error and the first line of its message, in the form of a traceback's last line."""
    return f"{type(error).__name__}: {first_line(error)}"


def sentence(error: ValidationError) -> str:
    """Describe the first problem of a validation error: the field, and what is wrong there."""
    field, message = next(_problems(error))
    return f"{field}: {message}" if field else message


def _problems(error: ValidationError) -> Iterator[tuple[str, str]]:
    for problem in error.errors():
        field = ".".join(shortened(str(step), 60) for step in problem["loc"])
        cause = problem.get("ctx", {}).get("error")
        if isinstance(cause, ValidationError):
            for inner, message in _problems(cause):
                yield f"{field}.{inner}" if inner else field, message
        elif problem["type"] == "missing":
            yield field, "is missing"
        else:
            message = _YAML_WORDS.sub(lambda word: _IN_YAML[word[1]], problem["msg"].removeprefix("Value error, "))
            shown = repr(problem["input"])
            yield field, message if cause else f"{message[0].lower()}{message[1:]}, but it is {shown[:60]}"


_IN_YAML = {"tuple": "list", "Tuple": "List", "dictionary": "mapping"}
_YAML_WORDS = re.compile(r"\b([Tt]uple|dictionary)\b(?: or instance of \w+)?")
"""Pydantic's messages name Python's types. Authors of YAML know lists and mappings."""
