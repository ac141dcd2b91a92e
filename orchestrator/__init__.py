"""When and where trials run: the plan, the executors, and the results."""
