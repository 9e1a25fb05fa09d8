"""The networks that a style file may name.

A style file may come from anyone, so what it names is looked up here and nowhere else. A network of your own gets a
line here, or its style files could not be rebuilt; training says so before it starts.
"""

from __future__ import annotations

from torch import nn

from onestroke.networks.realtime import RealtimeNetwork
from onestroke.networks.residual import ResidualNetwork

NETWORKS: dict[str, type[nn.Module]] = {
    "ResidualNetwork": ResidualNetwork,
    "RealtimeNetwork": RealtimeNetwork,
}
