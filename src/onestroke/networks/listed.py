"""The networks that a style file may name.

Style files are untrusted, so a network's name is looked up here and nowhere else. Your own network needs a line here,
or its style files can't be loaded; training checks that before it starts.
"""

from __future__ import annotations

from torch import nn

from onestroke.networks.attention import AttentionNetwork
from onestroke.networks.dense import DenseNetwork
from onestroke.networks.mobile import MobileNetwork
from onestroke.networks.realtime import RealtimeNetwork
from onestroke.networks.recurrent import RecurrentNetwork
from onestroke.networks.residual import ResidualNetwork
from onestroke.networks.resnext import GroupedNetwork
from onestroke.networks.unet import UNetwork

NETWORKS: dict[str, type[nn.Module]] = {
    "ResidualNetwork": ResidualNetwork,
    "RealtimeNetwork": RealtimeNetwork,
    "RecurrentNetwork": RecurrentNetwork,
    "UNetwork": UNetwork,
    "DenseNetwork": DenseNetwork,
    "GroupedNetwork": GroupedNetwork,
    "MobileNetwork": MobileNetwork,
    "AttentionNetwork": AttentionNetwork,
}
