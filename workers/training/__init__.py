"""Training: the one loop, and bringing trajectories to where they are wanted."""

from workers.training.loop import Epoch, optimizers_of, train

__all__ = ["Epoch", "optimizers_of", "train"]
