"""Channels: find those that a network can lose, make masks of them, and build the smaller network."""
