"""The terminal: what a person types and sees."""
