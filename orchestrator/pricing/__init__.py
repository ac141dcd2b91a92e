"""Pricing: what a plan costs, on this machine and on a GPU."""
