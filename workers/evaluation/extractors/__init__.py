"""Feature extractors: pretrained networks whose features are used to compare sets of images."""

from workers.evaluation.extractors.effnet import EffNet
from workers.evaluation.extractors.extractor import Extractor, ExtractorError
from workers.evaluation.extractors.inception import Inception
from workers.evaluation.extractors.state import state_dict_of

__all__ = ["EffNet", "Extractor", "ExtractorError", "Inception", "state_dict_of"]
