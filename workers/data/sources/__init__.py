"""The sources of data sets."""
