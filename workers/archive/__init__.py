"""The archive: what stages make, and what is known of it."""
