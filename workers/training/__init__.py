"""Training: the one loop, and bringing trajectories to where they are wanted."""
