"""Tickets in files: written, read, and described."""
