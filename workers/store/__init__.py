"""The store: where everything is kept, the names of what it keeps, and signs of running processes. No torch."""
