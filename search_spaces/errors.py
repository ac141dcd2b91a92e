"""The base of every error that is told to users in one sentence."""

from __future__ import annotations


class TombolaError(ValueError):
    """Something asked of tombola that cannot be done; the message says what, where, and what would be allowed."""
