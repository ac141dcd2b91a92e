"""Training: the training loop, and the training of lines up to the points that a plan needs."""
