"""Channels: found by walking the layers of a network, which can do without some of them."""
