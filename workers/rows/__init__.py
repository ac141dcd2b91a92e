"""Rows: the columns of the datasets, and what a trial writes into them."""
