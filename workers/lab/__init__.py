"""The laboratory: the verbs that searches use, and references to their results. No torch."""
