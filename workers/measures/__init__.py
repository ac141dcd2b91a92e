"""Measures: all metrics, and the requirements for measuring them. No torch."""
