"""Planning: dry runs joined into a plan, and what a store holds of it."""
