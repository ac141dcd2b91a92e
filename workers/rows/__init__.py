"""Rows: the columns of the datasets in a store, and the rows that a trial writes into them."""
