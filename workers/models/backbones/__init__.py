"""Backbones: pairs of an encoder and a decoder body, without an opinion on what they are trained for.

Stages are counted from the image inwards (`down1` and `up1` touch it), so that bodies of different depth share the
names, and with them the roles, of the stages that they have in common. The stage that touches the latent code is a
head; it carries the name that a family gives it.
"""

from workers.models.backbones.backbone import Backbone, Norm
from workers.models.backbones.conv import ConvBackbone
from workers.models.backbones.mlp import MLPBackbone
from workers.models.backbones.pooled import PooledBackbone
from workers.models.backbones.resnet import ResNetBackbone

__all__ = ["Backbone", "ConvBackbone", "MLPBackbone", "Norm", "PooledBackbone", "ResNetBackbone"]
