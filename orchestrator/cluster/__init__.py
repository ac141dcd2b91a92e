"""The cluster: the driver, and its workers on Ray."""
