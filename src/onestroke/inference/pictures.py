"""Convert PIL images, arrays and tensors to batches for painting, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from onestroke.errors import UserError
from onestroke.imaging import images

Picture = TypeVar("Picture", Image.Image, np.ndarray, Tensor)

_OVERSHOOT = 0.01  # tolerated distance from [0, 1], for the rounding of earlier steps


class Paints(Protocol):
    """Protocol of an object that paints batches; see Stylizer."""

    def paint(self, image: Tensor, *args: Any, **finish: Any) -> Tensor:
        """Paint float (N, 3, H, W) in [0, 1]; returns the same shape, fp32, on the CPU."""
        ...

    def check_memory(self, count: int, height: int, width: int) -> None:
        """Raise a UserError if painting `count` pictures of this size takes more memory than is free."""
        ...


def paint_picture(picture: Picture, stylizer: Paints, finish: Mapping[str, Any]) -> Picture:
    """Paint a picture, and return it in the same type and size.

    Args:
        picture: see `Stylizer.__call__`.
        stylizer: paints the batch.
        finish: keyword arguments for its `paint`.

    Raises:
        UserError: the type, shape or range of the picture is wrong, or it is too large for the memory.
    """
    if isinstance(picture, Image.Image):
        stylizer.check_memory(1, picture.height, picture.width)
        decoded = images.from_pil(picture)
        return images.to_pil(stylizer.paint(decoded.rgb, alpha=decoded.alpha, **finish), decoded.alpha)
    if isinstance(picture, np.ndarray):
        return _array(picture, stylizer, finish)
    if isinstance(picture, Tensor):
        return _tensor(picture, stylizer, finish)
    raise UserError(f"a picture to paint is a PIL image, an array or a tensor, not a {type(picture).__name__}")


def _tensor(picture: Tensor, stylizer: Paints, finish: Mapping[str, Any]) -> Tensor:
    if picture.ndim not in (3, 4) or picture.shape[-3] != 3 or not picture.is_floating_point():
        raise UserError(
            "a tensor to paint is float, in [0, 1], of shape (3, H, W) or (N, 3, H, W), not "
            f"{picture.dtype} {tuple(picture.shape)}"
        )
    batch = picture if picture.ndim == 4 else picture[None]
    return stylizer.paint(batch, **finish).to(picture.device, picture.dtype).reshape(picture.shape)


def _array(array: np.ndarray, stylizer: Paints, finish: Mapping[str, Any]) -> np.ndarray:
    whole, grey = array.dtype == np.uint8, array.ndim == 2
    if not (grey or (array.ndim in (3, 4) and array.shape[-1] in (3, 4))) or not (whole or array.dtype.kind == "f"):
        raise UserError(
            "an array to paint is uint8, or float in [0, 1], of shape (H, W), (H, W, 3 or 4) or "
            f"(N, H, W, 3 or 4), not {array.dtype} {array.shape}"
        )
    if 0 in array.shape:
        raise UserError(f"there is nothing to paint in an array of shape {array.shape}")
    colours = np.repeat(array[:, :, None], 3, axis=2) if grey else array
    stylizer.check_memory(len(array) if array.ndim == 4 else 1, *colours.shape[-3:-1])
    batch = colours[None] if colours.ndim == 3 else colours
    # astype copies, since torch can't use other byte orders, negative strides or read-only arrays
    planes = torch.from_numpy(batch.astype(np.uint8 if whole else np.float32, order="C")).permute(0, 3, 1, 2)
    image = planes[:, :3]
    if batch.shape[-1] == 4:
        pairs = zip(torch.split(image, 1), torch.split(planes[:, 3:], 1), strict=True)
        image = torch.cat([images.seen(*pair) for pair in pairs])
        finish = {"alpha": planes[:, 3:] / 255 if whole else planes[:, 3:], **finish}
    image = image / 255 if whole else image
    painted = stylizer.paint(image, **finish).permute(0, 2, 3, 1)
    result = (painted * 255 + 0.5).to(torch.uint8).numpy() if whole else painted.numpy().astype(array.dtype)
    if batch.shape[-1] == 4:
        result = np.concatenate((result, batch[..., 3:]), axis=-1)
    return result if array.ndim == 4 else result[0]


def check_batch(image: Tensor, greys: Mapping[str, Tensor | None]) -> None:
    """Check the arguments of `Stylizer.paint`.

    Args:
        image: (N, 3, H, W), which must be in [0, 1] and not empty.
        greys: name -> map that must be (N or 1, 1, H, W), or None.

    Raises:
        UserError: a value is out of range, or a shape doesn't fit.
    """
    height, width = image.shape[-2:]
    if 0 in image.shape:
        raise UserError(f"there is nothing to paint in a picture of {width} x {height}")
    low, high = float(image.min()), float(image.max())
    if not (low >= -_OVERSHOOT and high <= 1 + _OVERSHOOT):  # also true for NaN
        raise UserError(f"a picture to paint has values from 0 to 1, not from {low:g} to {high:g}")
    for name, grey in greys.items():
        if grey is not None and (grey.ndim != 4 or grey.shape[1] != 1 or grey.shape[-2:] != image.shape[-2:]):
            raise UserError(f"{name} must be (N, 1, {height}, {width}) as the picture is, not {tuple(grey.shape)}")
