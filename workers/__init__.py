"""How one trial runs: the laboratory, the store, the searches, and everything that these use."""

__version__ = "0.1.0"
