"""Exit codes of the command line; 0 means success."""

FAILED, REFUSED, SPENT, INTERRUPTED = 1, 2, 3, 130
"""A trial failed; the request cannot be carried out; a budget is spent; the run was interrupted."""

SAID = (FAILED, REFUSED, SPENT, INTERRUPTED)
"""Codes with which a driver itself reports that it did not succeed."""
