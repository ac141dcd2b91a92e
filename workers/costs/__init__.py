"""Costs: the FLOPs of a training step."""
