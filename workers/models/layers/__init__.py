"""Layers: their kernels, their tensors, and how they are constructed."""
