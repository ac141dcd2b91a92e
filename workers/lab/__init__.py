"""The laboratory: the verbs that searches are written in, and what they refer to. No torch."""
