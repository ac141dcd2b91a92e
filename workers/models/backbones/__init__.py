"""Backbones: pairs of an encoder body and a decoder body, independent of the training objective.

The numbers of stages count from the image inwards: `down1` and `up1` are next to the image. Bodies of different depth
therefore use the same names, and so the same roles, for the stages that both have. The stage next to the latent code
is the head. The family chooses the name of the head.
"""

from workers.models.backbones.backbone import Backbone, Norm
from workers.models.backbones.conv import ConvBackbone
from workers.models.backbones.mlp import MLPBackbone
from workers.models.backbones.pooled import PooledBackbone
from workers.models.backbones.resnet import ResNetBackbone

__all__ = ["Backbone", "ConvBackbone", "MLPBackbone", "Norm", "PooledBackbone", "ResNetBackbone"]
