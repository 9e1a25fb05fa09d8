"""Load a style once, paint many pictures."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from onestroke.devices import NO_MEMORY
from onestroke.errors import UserError, near
from onestroke.imaging import images
from onestroke.inference import backends
from onestroke.inference.compositing import COLOURS, masked, recoloured
from onestroke.inference.controls import Look, open_controls, over_the_picture
from onestroke.inference.memory import free_on

Picture = TypeVar("Picture", Image.Image, np.ndarray, Tensor)

_DARK = 0.25  # a photo that has no brighter value may rightly be painted all black
_OVERSHOOT = 0.01  # how far beyond [0, 1] the rounding of earlier steps may have led


class Stylizer:
    """A style, ready to paint.

        stylizer = Stylizer("checkpoints/starry_night.safetensors")
        stylizer(Image.open("photo.jpg")).save("painted.png")

    Args:
        style: path of a style file, or of an ONNX file that export.py made of one.
        device: auto, cpu, cuda (or cuda:1, ...) or mps.
        backend: torch, onnx, openvino or auto, see `backends.load`; None is what fits the file. Within a level of 255
            they paint the same.
        compiled: whether torch.compile makes code for the network: a minute or more at the first picture of a size,
            and faster then.
        mix: of a file with several styles, the one to paint in, or a mix: "starry_night:0.6,great_wave:0.4".
        strength: 0 (the photo) to 1 (the painting, little of the photo); None: as it was trained, mostly 0.5.
        stroke: 0 (strokes of the size trained for) to 1 (twice that); None: 0.

    Raises:
        UserError: for a style file, a device, a backend, a mix or a control that can't be used.
    """

    def __init__(
        self,
        style: str | os.PathLike[str],
        device: str = "auto",
        backend: str | None = None,
        compiled: bool = False,
        mix: str | None = None,
        strength: float | None = None,
        stroke: float | None = None,
    ) -> None:
        self.path = Path(style)
        self.look = Look(mix, strength, stroke)
        self.backend, self.painter = backends.load(self.path, device, backend, compiled, self.look)
        self._mapped: tuple[backends.Torch, list[str]] | None = None
        self.device = self.backend.device

    @property
    def name(self) -> str:
        """What the style is called, fit for a file name."""
        name = self.painter.style.get("name")
        # A style file may come from anyone, and its name must not lead paintings out of their folder.
        sound = isinstance(name, str) and name.isprintable() and name.strip(". ")
        return str(name) if sound and not any(c in str(name) for c in '/\\:*?"<>|') else self.path.stem

    def __call__(self, picture: Picture, **finish: Any) -> Picture:
        """Paint a picture; what comes back is of the same kind and size.

        Args:
            picture: a PIL image of any mode (orientation, profile and alpha are heeded); an array (H, W), (H, W, 3),
                (H, W, 4) with alpha, or a stack (N, H, W, 3 or 4), uint8 or float in [0, 1]; a float tensor
                (3, H, W) or (N, 3, H, W) in [0, 1].
            finish: style_map, color, mask and feather of `paint`.

        Returns:
            A PIL image in RGB, or RGBA where there was an alpha channel; an array of the same dtype and shape, or
            (H, W, 3) for (H, W), its alpha as it was; a tensor of the same shape, dtype and device.

        Raises:
            UserError: for a picture of another shape, kind or range, or too large for the memory.
        """
        if isinstance(picture, Image.Image):
            self.check_memory(1, picture.height, picture.width)
            decoded = images.from_pil(picture)
            return images.to_pil(self.paint(decoded.rgb, alpha=decoded.alpha, **finish), decoded.alpha)
        if isinstance(picture, np.ndarray):
            return self._array(picture, finish)
        if isinstance(picture, Tensor):
            if picture.ndim not in (3, 4) or picture.shape[-3] != 3 or not picture.is_floating_point():
                raise UserError(
                    "a tensor to paint is float, in [0, 1], of shape (3, H, W) or (N, 3, H, W), not "
                    f"{picture.dtype} {tuple(picture.shape)}"
                )
            batch = picture if picture.ndim == 4 else picture[None]
            return self.paint(batch, **finish).to(picture.device, picture.dtype).reshape(picture.shape)
        raise UserError(f"a picture to paint is a PIL image, an array or a tensor, not a {type(picture).__name__}")

    def paint(
        self,
        image: Tensor,
        style_map: Tensor | None = None,
        color: str = "style",
        mask: Tensor | None = None,
        feather: float = 0.0,
        alpha: Tensor | None = None,
    ) -> Tensor:
        """Paint a batch.

        Args:
            image: float (N, 3, H, W) in [0, 1].
            style_map: grey (N or 1, 1, H, W) in [0, 1]: black paints in the first style of the mix, white in the last.
            color: style; photo, for luminance of the painting alone; match, for the photo's palette.
            mask: grey (N or 1, 1, H, W) in [0, 1]: white paints, black keeps the photo.
            feather: softens the mask by so many pixels.
            alpha: (N, 1, H, W) in [0, 1], by which color=match weighs colours; the colours of what can't be seen must
                be those of what is visible beside it already, as `images.read` has them.

        Returns:
            The same shape, fp32, in [0, 1], on the CPU.

        Raises:
            UserError: where values are out of range, the memory does not suffice, or what was painted is no
                picture.
        """
        image = image.detach()
        height, width = image.shape[-2:]
        if 0 in image.shape:
            raise UserError(f"there is nothing to paint in a picture of {width} x {height}")
        low, high = float(image.min()), float(image.max())
        if not (low >= -_OVERSHOOT and high <= 1 + _OVERSHOOT):  # also true where NaN is
            raise UserError(f"a picture to paint has values from 0 to 1, not from {low:g} to {high:g}")
        for name, grey in (("style_map", style_map), ("mask", mask), ("alpha", alpha)):
            if grey is not None and (grey.ndim != 4 or grey.shape[1] != 1 or grey.shape[-2:] != image.shape[-2:]):
                raise UserError(f"{name} must be (N, 1, {height}, {width}) as the picture is, not {tuple(grey.shape)}")
        if color not in COLOURS:
            raise UserError(f"color={color}: {near(color, COLOURS)}")
        self.check_memory(len(image), height, width, style_map is not None)
        with _memory_told(height, width):
            painted = self._painted(image, style_map)
        brightest, photo = painted.amax((1, 2, 3)), image.amax((1, 2, 3)).cpu()
        if not torch.isfinite(painted).all() or ((brightest < 1 / 255) & (photo > _DARK)).any():
            raise UserError(
                f"{self.path} paints no picture (numbers that are not finite, or all black); train it again"
            )
        # A copy outside of inference_mode is an ordinary tensor, which a caller may train with.
        result: Tensor = painted.clone(memory_format=torch.contiguous_format)
        original = image.cpu().float().clamp(0, 1)
        result = recoloured(result, original, color, None if alpha is None else alpha.cpu().float())
        return result if mask is None else masked(result, original, mask.cpu().float(), feather)

    def _painted(self, image: Tensor, style_map: Tensor | None) -> Tensor:
        if style_map is None:
            return self.backend.paint(image)
        assert self.look.mix is not None
        painter_of_all, names = self._all_styles()
        guide = style_map.cpu().float().expand(len(image), -1, -1, -1)
        return painter_of_all.paint_over(image, over_the_picture(self.look.mix, names, guide))

    def _all_styles(self) -> tuple[backends.Torch, list[str]]:
        """What paints another style in each place, and their names."""
        if self.look.mix is None:
            raise UserError("style_map needs two styles of a file that holds several: style=starry_night,great_wave")
        if self._mapped is None:
            network, painter = open_controls(self.path, self.look)
            self._mapped = backends.Torch(network, self.device), painter.styles
        return self._mapped

    def _array(self, array: np.ndarray, finish: dict[str, Any]) -> np.ndarray:
        whole, grey = array.dtype == np.uint8, array.ndim == 2
        if not (grey or (array.ndim in (3, 4) and array.shape[-1] in (3, 4))) or not (whole or array.dtype.kind == "f"):
            raise UserError(
                "an array to paint is uint8, or float in [0, 1], of shape (H, W), (H, W, 3 or 4) or "
                f"(N, H, W, 3 or 4), not {array.dtype} {array.shape}"
            )
        if 0 in array.shape:
            raise UserError(f"there is nothing to paint in an array of shape {array.shape}")
        colours = np.repeat(array[:, :, None], 3, axis=2) if grey else array
        self.check_memory(len(array) if array.ndim == 4 else 1, *colours.shape[-3:-1])
        batch = colours[None] if colours.ndim == 3 else colours
        # astype copies, since torch takes no foreign byte orders or negative strides, and no read-only arrays
        planes = torch.from_numpy(batch.astype(np.uint8 if whole else np.float32, order="C")).permute(0, 3, 1, 2)
        image = planes[:, :3]
        if batch.shape[-1] == 4:
            pairs = zip(torch.split(image, 1), torch.split(planes[:, 3:], 1), strict=True)
            image = torch.cat([images.seen(*pair) for pair in pairs])
            finish = {"alpha": planes[:, 3:] / 255 if whole else planes[:, 3:], **finish}
        image = image / 255 if whole else image
        painted = self.paint(image, **finish).permute(0, 2, 3, 1)
        result = (painted * 255 + 0.5).to(torch.uint8).numpy() if whole else painted.numpy().astype(array.dtype)
        if batch.shape[-1] == 4:
            result = np.concatenate((result, batch[..., 3:]), axis=-1)
        return result if array.ndim == 4 else result[0]

    def check_memory(self, count: int, height: int, width: int, mapped: bool = False) -> None:
        """Refuse what the system would have to kill us for, before anything is taken.

        Args:
            count, height, width: how many pictures at once, and their size.
            mapped: whether a style_map goes with them.

        Raises:
            UserError: painting them takes more memory than is free.
        """
        with _memory_told(height, width):
            needed, free = self._needed(count, height, width, mapped), free_on(self.device)
            if needed <= free:
                return
            longer = max(height, width)
            side = max(1, int((free / needed) ** 0.5 * longer))
            # networks pad, so that what is shrunk may take a little more than its share
            while (
                side > 1 and self._needed(count, -(-height * side // longer), -(-width * side // longer), mapped) > free
            ):
                side = side * 49 // 50
        raise UserError(
            f"{width} x {height} needs about {needed / 2**30:.1f} GiB to paint and "
            f"{free / 2**30:.1f} GiB are free; shrink it with max_side={side}"
        )

    def _needed(self, count: int, height: int, width: int, mapped: bool) -> float:
        if not mapped:
            return self.backend.memory(count, height, width)
        network, names = self._all_styles()
        return network.memory(count, height, width, len(names))


@contextmanager
def _memory_told(height: int, width: int) -> Iterator[None]:
    """Memory that is short is told in one sentence.

    Raises:
        UserError: in place of what a runtime raises then.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        # Only CUDA has an error of its own for this; the CPU and MPS say it in words.
        if isinstance(error, RuntimeError) and not any(words in str(error) for words in NO_MEMORY):
            raise
        raise UserError(f"{width} x {height} is too large for the memory; use a smaller max_side") from error
