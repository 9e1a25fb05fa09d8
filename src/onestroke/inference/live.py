"""Change style, strength and stroke between two pictures, without opening the style file again."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from onestroke import style_file
from onestroke.errors import UserError
from onestroke.graphs.live import layout
from onestroke.inference.backend import Backend
from onestroke.inference.backends import Torch
from onestroke.inference.controls import StyleControls, table_weights, with_style
from onestroke.inference.exported import Exported
from onestroke.networks.base import TransformNetwork
from onestroke.style_document import Metadata


class LiveStyle:
    """A style file, or an ONNX file with live controls, whose style and controls are set again and again.

    With a runtime for graphs, the first change builds a graph whose controls are inputs; later ones cost nothing. With
    PyTorch, the weights of the chosen controls are written into the network, in a few milliseconds.

    Args:
        path: the file.
        backend: that it was opened with.

    Raises:
        UserError: for a file whose style and controls are built in.
    """

    def __init__(self, path: Path, backend: Backend) -> None:
        self.path, self.backend = path, backend
        self.network: nn.Module | None = None
        self.settled: TransformNetwork | None = None  # of several styles, with the controls that were set last
        if path.suffix.lower() != ".onnx":
            self.network, self.metadata = style_file.load(path)
        elif isinstance(backend, Exported) and backend.document is not None:
            self.metadata = backend.document
        else:
            raise UserError(f"{path} has style and controls built in: export it with controls=live")
        if self.network is not None and not isinstance(self.network, TransformNetwork):
            raise UserError(f"{path}: the network {self.metadata.network['name']} has no controls")

    def set(self, controls: StyleControls) -> tuple[Backend, Metadata]:
        """Paint in this style and with these controls from now on.

        Returns:
            What paints, and the document of the file, narrowed to the chosen styles.

        Raises:
            UserError: for a style that the file lacks, several without a choice, or a control out of its range.
        """
        if isinstance(self.backend, Torch):
            assert isinstance(self.network, TransformNetwork)
            painting = self.backend.network
            assert isinstance(painting, TransformNetwork)
            if len(self.metadata.styles) == 1:
                into = (painting, painting)
            else:
                if self.settled is None:
                    self.settled = self.network.fixed()
                into = (self.settled, painting)
            return self.backend, with_style(self.path, self.network, self.metadata, controls, into)[1]
        assert isinstance(self.backend, Exported)
        conditioning = layout(self.metadata.network["args"])
        rows, fade, chosen = table_weights(self.path, conditioning, self.metadata, controls)
        if not self.backend.rows:
            assert isinstance(self.network, TransformNetwork)
            self.backend = type(self.backend).of(self.network, live=True)
        self.backend.set(rows, fade)
        return self.backend, chosen
