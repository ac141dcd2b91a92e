"""Profiles: how long work takes on this machine."""
