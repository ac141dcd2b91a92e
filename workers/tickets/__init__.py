"""Tickets in files: writing, reading and describing them."""
