"""Layers: their kernels, their tensors and their construction."""
