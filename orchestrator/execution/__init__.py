"""Execution: where trials run, within which limits, and what happens after a fault."""
