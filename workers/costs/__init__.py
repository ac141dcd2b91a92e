"""Costs: what a training step takes, in FLOPs."""
