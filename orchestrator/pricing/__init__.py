"""Pricing: what a plan takes here, and on a GPU."""
