"""Measures: every metric there is, and what measuring asks for. No torch."""
