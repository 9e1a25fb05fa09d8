"""Networks as graphs whose style and controls are inputs, so that they change between two pictures at no cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from onestroke.graphs.tracing import Core, trace
from onestroke.networks.base import TransformNetwork
from onestroke.networks.conditioning import Conditioning
from onestroke.networks.tables import Condition, Tables

FADE = "fade"
"""The name of the input that is the opacity of the painting over the photo."""


@dataclass(frozen=True)
class Live:
    """A traced network with its tables.

    core: the graph; its inputs after the picture are the parameters of each layer with tables, (1, ...) each, by the
    names of `tables`, FADE, (1,), and the past, if it was traced with one. tables: by the same names, (rows, ...).
    """

    core: Core
    tables: dict[str, Tensor]


class _WithParameters(nn.Module):
    """A network that gets the parameters of its layers with tables by name; by default, the mean of all rows."""

    def __init__(self, network: TransformNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor, past: Tensor | None = None, **given: Tensor) -> Tensor:
        """(N, 3, H, W) -> the same shape. given: FADE, and parameters by the names of `named`."""
        tables = given or {FADE: torch.ones(1), **{n: t.mean(dim=0, keepdim=True) for n, t in named(self.network)}}
        parameters: dict[nn.Module, Sequence[Tensor]] = {
            layer: [tables[_name(name, part)].to(image.dtype) for part, _ in layer.named_parameters(recurse=False)]
            for name, layer in self.network.named_modules()
            if isinstance(layer, Tables)
        }
        return self.network.paint_with(image, Condition(None, tables[FADE], parameters, past=past))


def named(network: TransformNetwork) -> list[tuple[str, Tensor]]:
    """The tables of a network with names that a graph may use."""
    return [
        (_name(name, part), table.detach())
        for name, layer in network.named_modules()
        if isinstance(layer, Tables)
        for part, table in layer.named_parameters(recurse=False)
    ]


def layout(arguments: Mapping[str, Any]) -> Conditioning:
    """The layout of a network's norm tables, from the arguments in its document."""
    return Conditioning.of(arguments.get("styles", 1), arguments.get("controls", ()))


def trace_live(network: TransformNetwork, past: bool = False) -> Live:
    """Trace a network so that the parameters of its layers with tables are inputs.

    Args:
        network: on the CPU, in fp32, with any number of styles and controls.
        past: of a recurrent network: whether its past is an input too.
    """
    tables = dict(named(network))
    parameters = {name: table.mean(dim=0, keepdim=True) for name, table in tables.items()}
    core = trace(_WithParameters(network), {**parameters, FADE: torch.full((1,), 0.5)}, past)
    return Live(core, tables)


def _name(layer: str, part: str) -> str:
    return f"{layer}.{part}".replace(".", "_")
