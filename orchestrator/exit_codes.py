"""Exit codes of the command; 0 is all well."""

FAILED, REFUSED, SPENT, INTERRUPTED = 1, 2, 3, 130
"""A trial failed; something asked for cannot be done; a budget is spent; it was interrupted."""

SAID = (FAILED, REFUSED, SPENT, INTERRUPTED)
"""What a driver that did not end well says of itself."""
