"""Planning: dry runs joined, and what a store holds of them."""
