"""The store: where everything is kept, under which names, and who is alive there. No torch."""
