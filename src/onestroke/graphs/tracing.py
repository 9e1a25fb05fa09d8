"""Trace a network to a graph of operations that is independent of the picture's size, for export.

The forward pass of a network uses the size of its picture to pad, loop and crop. Here it is run once, with a picture
that needs no padding, and its operations on the picture are recorded. So any network of ordinary operations can be
exported without further code.

Other tracers don't fit: torch.fx fails where a network uses a size, and torch.export and torch.onnx write either the
arithmetic of sizes or the fixed size of their example.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.fx.node import map_aggregate
from torch.overrides import TorchFunctionMode

NORM = "instance_norm"
_TRACED = 48  # the side at which a network is run, unless its smallest is larger
_LARGEST = 128  # largest multiple and smallest side that `padding` tries; no known network needs more
# functions that are not recorded if their result has the shape and dtype of their input
_UNCHANGED = ("clone", "contiguous", "detach", "dropout", "float", "split", "chunk", "cat", "concat", "to")


class Core(nn.Module):
    """A traced network for pictures that need no padding: float (N, 3, H, W) -> the same shape.

    Args:
        graph: placeholders, constants, calls of torch functions, output; meta["operation"] is the name of each
            function. Instance norms are calls of `F.instance_norm` as created by `norm`.
        multiple, smallest: H and W must be multiples of `multiple`, and at least `smallest`.
        past: whether its last input is the past of a recurrent network, (N, 4, H, W), see `RecurrentNetwork`.
    """

    def __init__(self, graph: fx.Graph, multiple: int, smallest: int, past: bool = False) -> None:
        super().__init__()
        self.graph = graph
        self.past = past
        self.multiple, self.smallest = multiple, smallest

    def forward(self, image: Tensor, *more: Tensor) -> Tensor:
        """Run the graph on float (N, 3, H, W); H and W as in the class docstring; `more` as it was traced with."""
        result: Tensor = fx.Interpreter(self, graph=self.graph).run(image, *more)
        return result

    def missing(self, side: int) -> int:
        """Number of pixels to pad to the next valid side length."""
        return max(self.smallest, -(-side // self.multiple) * self.multiple) - side

    def constant(self, name: str, value: Tensor) -> fx.Node:
        """Insert a constant node for a tensor at the graph's insertion point."""
        name = name.replace(".", "_")
        self.register_buffer(name, value.detach().contiguous())
        return self.graph.create_node("get_attr", name)

    def call(self, name: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> fx.Node:
        """Insert a node that calls a function at the graph's insertion point."""
        node = self.graph.call_function(function, args, kwargs)
        node.meta["operation"] = name
        return node


def trace(network: nn.Module, more: Mapping[str, Tensor] = MappingProxyType({}), past: bool = False) -> Core:
    """Trace a network.

    Args:
        network: on the CPU, in fp32; takes and returns float (N, 3, H, W).
        more: further inputs by name, which are passed by name too and become placeholders after the picture. Without
            them the network must also work.
        past: whether the past of a recurrent network, by this name, is an input too, after all others.
    """
    multiple, smallest = padding(network)
    core = Core(fx.Graph(), multiple, smallest, past)
    side = -(-max(smallest, _TRACED) // multiple) * multiple
    image = torch.rand(1, 3, side, side + 2 * multiple, generator=torch.Generator().manual_seed(0))
    if past:
        more = {**more, "past": torch.rand(1, 4, *image.shape[-2:], generator=torch.Generator().manual_seed(1))}
    recorder = _Recorder(core, image, {id(p): name for name, p in network.named_parameters()})
    for name, value in more.items():
        recorder.add_input(name, value)
    with torch.no_grad(), recorder:
        result = network(image, **more)
    core.graph.output(recorder.node(result))
    core.graph.eliminate_dead_code()
    return core


def padding(network: nn.Module, inputs: int = 3) -> tuple[int, int]:
    """The multiple and the smallest side to which a network pads its picture, at the bottom and on the right.

    Found by experiment, so that networks need not declare it: if padding a picture in advance doesn't change the
    painting, the network itself pads to that size or further. Only padding by replication is detected; for a network
    with another padding, the check of the exported file fails. `inputs` is the number of channels that it takes.
    """
    exact = copy.deepcopy(network).double()  # in double precision, so that equal results differ by rounding only

    def paints(height: int, width: int) -> Callable[[int, int], bool]:
        image = torch.rand(1, inputs, height, width, generator=torch.Generator().manual_seed(0)).double()
        wanted = exact(image)

        def same(multiple: int, smallest: int) -> bool:
            core = Core(fx.Graph(), multiple, smallest)
            padded = F.pad(image, [0, core.missing(width), 0, core.missing(height)], mode="replicate")
            return float((exact(padded)[..., :height, :width] - wanted).abs().max()) < 1e-9

        return same

    with torch.no_grad():
        multiple, same = 1, paints(65, 67)
        while 2 * multiple <= _LARGEST and same(2 * multiple, 1):
            multiple *= 2
        smallest, same = multiple, paints(3, 2)
        while smallest + multiple <= _LARGEST and same(multiple, smallest + multiple):
            smallest += multiple
    return multiple, smallest


class _Recorder(TorchFunctionMode):
    """Records each call that depends on the picture; all other tensors become constants.

    Calls that change nothing at the size of the trace, such as slices up to the height, are not recorded.
    """

    def __init__(self, core: Core, image: Tensor, names: dict[int, str]) -> None:
        super().__init__()
        self.core = core
        self.names = names
        self.nodes: dict[int, fx.Node] = {id(image): core.graph.placeholder("image")}
        self.constants: dict[int, fx.Node] = {}
        self.kept = [image]  # references, so that the id of a recorded tensor is not reused

    def add_input(self, name: str, value: Tensor) -> None:
        """A further input of the graph, besides the picture."""
        self._remember(value, self.core.graph.placeholder(name))

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given: list[Tensor] = []
        map_aggregate((args, kwargs), lambda v: given.append(v) if isinstance(v, Tensor) else None)
        result = func(*args, **kwargs)
        results = [result] if isinstance(result, Tensor) else result
        if not isinstance(results, list | tuple) or not all(isinstance(r, Tensor) for r in results) or not results:
            return result
        if not any(id(tensor) in self.nodes for tensor in given):
            return result
        if self._unchanged(func, args, given, results):
            self._remember(results[0], self.nodes[id(given[0])])
            return result
        node = self._call(func, args, kwargs)
        if isinstance(result, Tensor):
            self._remember(result, node)
        else:
            for index, part in enumerate(results):
                self._remember(part, self.core.call("part", lambda parts, i: parts[i], node, index))
        return result

    def node(self, tensor: Tensor) -> fx.Node:
        """The node that computes a tensor, or a constant node for it."""
        if id(tensor) in self.nodes:
            return self.nodes[id(tensor)]
        if id(tensor) not in self.constants:
            name = self.names.get(id(tensor), f"constant_{len(self.constants)}")
            self.constants[id(tensor)] = self.core.constant(name, tensor)
            self.kept.append(tensor)
        return self.constants[id(tensor)]

    def _remember(self, tensor: Tensor, node: fx.Node) -> None:
        node.meta["shape"] = tuple(tensor.shape)
        self.nodes[id(tensor)] = node
        self.kept.append(tensor)

    def _call(self, function: Any, args: Any, kwargs: dict[str, Any]) -> fx.Node:
        found = as_norm(function, args, kwargs)
        if found is not None:
            image, weight, bias, eps = found
            channels = image.shape[1]
            weight = torch.ones(channels) if weight is None else weight
            bias = torch.zeros(channels) if bias is None else bias
            return norm(self.core, self.node(image), self.node(weight), self.node(bias), eps)
        args, kwargs = map_aggregate((args, kwargs), lambda v: self.node(v) if isinstance(v, Tensor) else v)
        return self.core.call(function.__name__, function, *args, **kwargs)

    def _unchanged(self, function: Any, args: Any, given: list[Tensor], results: Any) -> bool:
        """Whether a call returns its only tensor argument unchanged."""
        if len(results) != 1 or len(given) != 1:
            return False
        if function.__name__ == "__getitem__":
            index = args[1] if isinstance(args[1], tuple) else (args[1],)
            if not all(i is Ellipsis or (isinstance(i, slice) and i.step in (None, 1)) for i in index):
                return False
        elif function.__name__ not in _UNCHANGED:
            return False
        return bool(results[0].shape == given[0].shape and results[0].dtype == given[0].dtype)


def norm(core: Core, image: fx.Node, weight: fx.Node, bias: fx.Node, eps: float) -> fx.Node:
    """Insert an instance norm in the form that a core uses."""
    return core.call(NORM, F.instance_norm, image, None, None, weight, bias, True, 0.1, eps)


def as_norm(function: Any, args: Any, kwargs: dict[str, Any]) -> tuple[Tensor, Any, Any, float] | None:
    """Input, weight, bias and eps of a norm with the picture's own statistics; None for any other call.

    A batch norm in training mode counts too, since the trace has a batch of one.
    """
    if function is F.batch_norm:
        names = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")
        measured = "training", False
    elif function is F.instance_norm:
        names = ("input", "running_mean", "running_var", "weight", "bias", "use_input_stats", "momentum", "eps")
        measured = "use_input_stats", True
    else:
        return None
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    if not given.get(*measured):
        return None
    return given["input"], given.get("weight"), given.get("bias"), float(given.get("eps", 1e-5))
