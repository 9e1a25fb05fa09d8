"""The networks that a style file may name.

Style files are untrusted, so a network's name is looked up here and nowhere else. Your own network needs a line here,
or its style files can't be loaded; training checks that before it starts.
"""

from __future__ import annotations

from torch import nn

from onestroke.networks.realtime import RealtimeNetwork
from onestroke.networks.residual import ResidualNetwork

NETWORKS: dict[str, type[nn.Module]] = {
    "ResidualNetwork": ResidualNetwork,
    "RealtimeNetwork": RealtimeNetwork,
}
