"""Load a style once, paint many pictures."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from onestroke import checkpoints, images
from onestroke.errors import UserError

Picture = TypeVar("Picture", Image.Image, np.ndarray, Tensor)

# Measured on the default network: its widest layers, at full size, in fp32, a few of them alive at once.
BYTES_PER_PIXEL_AND_CHANNEL = 20


class Stylizer:
    """A style file, ready to paint.

        stylizer = Stylizer("checkpoints/starry_night.safetensors")
        stylizer(Image.open("photo.jpg")).save("painted.png")

    Args:
        style: path of a style file.
        device: auto, cpu, cuda (or cuda:1, ...) or mps.

    Raises:
        UserError: for a style file or a device that can't be used.
    """

    def __init__(self, style: str | os.PathLike[str], device: str = "auto") -> None:
        self.path = Path(style)
        network, self.painter = checkpoints.load(self.path)
        self.device = choose_device(device)
        self.network = network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def name(self) -> str:
        """What the style is called."""
        return str(self.painter.style.get("name", self.path.stem))

    def __call__(self, picture: Picture) -> Picture:
        """Paint a picture; what comes back is of the same kind and size.

        Args:
            picture: a PIL image of any mode (orientation, profile and alpha are heeded); an array (H, W, 3) or
                (H, W), uint8 or float in [0, 1]; a float tensor (3, H, W) or (N, 3, H, W) in [0, 1].

        Returns:
            A PIL image in RGB, or RGBA where there was an alpha channel; an array (H, W, 3) of the same dtype; a
            tensor of the same shape, dtype and device.

        Raises:
            UserError: for a picture of another shape or kind, or too large for the memory.
        """
        if isinstance(picture, Image.Image):
            decoded = images.from_pil(picture)
            return images.to_pil(self.paint(decoded.rgb), decoded.alpha)
        if isinstance(picture, np.ndarray):
            return self._array(picture)
        if isinstance(picture, Tensor):
            if picture.ndim not in (3, 4) or picture.shape[-3] != 3 or not picture.is_floating_point():
                raise UserError(
                    "a tensor to paint is float, in [0, 1], of shape (3, H, W) or (N, 3, H, W), not "
                    f"{picture.dtype} {tuple(picture.shape)}"
                )
            batch = picture if picture.ndim == 4 else picture[None]
            return self.paint(batch).to(picture.device, picture.dtype).reshape(picture.shape)
        raise UserError(f"a picture to paint is a PIL image, an array or a tensor, not a {type(picture).__name__}")

    def paint(self, image: Tensor) -> Tensor:
        """Paint a batch.

        Args:
            image: float (N, 3, H, W) in [0, 1].

        Returns:
            The same shape, fp32, in [0, 1], on the CPU.

        Raises:
            UserError: where the memory does not suffice, or what was painted is no picture.
        """
        height, width = image.shape[-2:]
        if 0 in image.shape:
            raise UserError(f"there is nothing to paint in a picture of {width} x {height}")
        self._check_memory(image.shape[0] * height * width, f"{width} x {height}")
        try:
            with torch.inference_mode():
                ready = image.to(self.device, torch.float32, memory_format=torch.channels_last)
                painted = self.network(ready).clamp(0, 1).cpu()
        except (torch.OutOfMemoryError, MemoryError) as error:
            raise UserError(f"{width} x {height} is too large for the memory; use a smaller max_side") from error
        if not torch.isfinite(painted).all() or (painted.max() < 1 / 255 <= image.max()):
            raise UserError(f"{self.path} paints no picture (numbers that are not finite, or all black); train it again")
        return painted.contiguous()

    def _array(self, array: np.ndarray) -> np.ndarray:
        grey = array.ndim == 2
        whole = array.dtype == np.uint8
        if not grey and (array.ndim != 3 or array.shape[2] != 3) or not (whole or array.dtype.kind == "f"):
            raise UserError(
                "an array to paint is uint8, or float in [0, 1], of shape (H, W, 3) or (H, W), not "
                f"{array.dtype} {array.shape}"
            )
        rgb = np.repeat(array[:, :, None], 3, axis=2) if grey else array
        image = torch.from_numpy(np.ascontiguousarray(rgb)).permute(2, 0, 1)[None].float()
        painted = self.paint(image / 255 if whole else image)[0].permute(1, 2, 0)
        return (painted * 255 + 0.5).to(torch.uint8).numpy() if whole else painted.numpy().astype(array.dtype)

    def _check_memory(self, pixels: int, size: str) -> None:
        """Refuse what the system would have to kill us for."""
        if self.device.type != "cpu" or not hasattr(os, "sysconf"):
            return
        channels = max([8, *(w.shape[0] for n, w in self.network.state_dict().items() if w.ndim == 4 and "encoder.0" in n)])
        needed = pixels * channels * BYTES_PER_PIXEL_AND_CHANNEL
        available = available_memory()
        if available is not None and needed > available:
            side = int((available / needed) ** 0.5 * 100)
            raise UserError(
                f"{size} needs about {needed / 2**30:.1f} GiB to paint and {available / 2**30:.1f} GiB are free; "
                f"shrink it to about {side} % of its size with max_side="
            )


def choose_device(name: str) -> torch.device:
    """The device of that name, `auto` being the fastest there is.

    Raises:
        UserError: for a name that is none, or a device that isn't there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UserError(f"device={name} can't be used here; take device=auto or device=cpu") from error
    return device


def available_memory() -> int | None:
    """Bytes of memory that are free or can be freed; None where the system doesn't say."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return None
