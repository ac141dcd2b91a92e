"""Everything that a plugin imports: specs, their registries, the tables of makers, and the types that makers use.

`docs/extending.md` shows each in use.
"""

from search_spaces.criterion import Criterion, Scope
from search_spaces.datasets import DatasetSpec, datasets
from search_spaces.methods import Control, Finder, methods
from search_spaces.models import Composed, ModelSpec, models
from workers.data import DatasetCard, Split, sources
from workers.lab.laboratory import Laboratory
from workers.lab.references import MaskKey, State, Ticket
from workers.models import backbones, builders
from workers.models.families import GAN, VAE, Autoencoder, Family, Loss
from workers.pruning.criteria import Subject, scorers
from workers.searches import controls, searches

__all__ = [
    "GAN",
    "VAE",
    "Autoencoder",
    "Composed",
    "Control",
    "Criterion",
    "DatasetCard",
    "DatasetSpec",
    "Family",
    "Finder",
    "Laboratory",
    "Loss",
    "MaskKey",
    "ModelSpec",
    "Scope",
    "Split",
    "State",
    "Subject",
    "Ticket",
    "backbones",
    "builders",
    "controls",
    "datasets",
    "methods",
    "models",
    "scorers",
    "searches",
    "sources",
]
