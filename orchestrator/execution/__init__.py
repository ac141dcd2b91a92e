"""Execution: where trials run, within which limits, and what is made of faults."""
