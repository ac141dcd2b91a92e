"""Training: the training loop, and the training of lines up to the points that a plan needs."""

from workers.training.loop import Epoch, optimizers_of, train

__all__ = ["Epoch", "optimizers_of", "train"]
