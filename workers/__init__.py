"""How one trial runs: the laboratory, the store, the searches, and all that they stand on."""

__version__ = "0.1.0"
