"""The archive: the results of stages, and records about them."""
