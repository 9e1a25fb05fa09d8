"""Load a style once, paint many pictures."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from onestroke import checkpoints, images
from onestroke.errors import UserError

Picture = TypeVar("Picture", Image.Image, np.ndarray, Tensor)

# Peak above what the process held before, per pixel and channel of the first convolution. Pictures of 1 to 3
# megapixels took 23.4 to 26.7 on an x86 CPU, whether the network is 16-32-64 or 32-64-128. Smaller ones take
# up to 32, but no machine runs out of memory over those.
BYTES_PER_PIXEL_AND_CHANNEL = 28
_DARK = 0.25  # a photo that has no brighter value may rightly be painted all black
_NO_MEMORY = ("out of memory", "allocate memory", "not enough memory")
_OVERSHOOT = 0.01  # how far beyond [0, 1] the rounding of earlier steps may have led


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
        """What the style is called, fit for a file name."""
        name = self.painter.style.get("name")
        # A style file may come from anyone, and its name must not lead paintings out of their folder.
        sound = isinstance(name, str) and name.isprintable() and name.strip(". ")
        return str(name) if sound and not any(c in str(name) for c in '/\\:*?"<>|') else self.path.stem

    def __call__(self, picture: Picture) -> Picture:
        """Paint a picture; what comes back is of the same kind and size.

        Args:
            picture: a PIL image of any mode (orientation, profile and alpha are heeded); an array (H, W, 3)
                or (H, W), uint8 or float in [0, 1]; a float tensor (3, H, W) or (N, 3, H, W) in [0, 1].

        Returns:
            A PIL image in RGB, or RGBA where there was an alpha channel; an array (H, W, 3) of the same
            dtype; a tensor of the same shape, dtype and device.

        Raises:
            UserError: for a picture of another shape, kind or range, or too large for the memory.
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
        self._check_memory(len(image), height, width)
        try:
            with torch.inference_mode():
                ready = image.to(self.device, torch.float32, memory_format=torch.channels_last)
                painted = self.network(ready).clamp(0, 1).cpu()
        except (RuntimeError, MemoryError) as error:
            # Only CUDA has an error of its own for this; the CPU and MPS say it in words.
            if isinstance(error, RuntimeError) and not any(words in str(error) for words in _NO_MEMORY):
                raise
            raise UserError(f"{width} x {height} is too large for the memory; use a smaller max_side") from error
        brightest, photo = painted.amax((1, 2, 3)), image.amax((1, 2, 3)).cpu()
        if not torch.isfinite(painted).all() or ((brightest < 1 / 255) & (photo > _DARK)).any():
            raise UserError(
                f"{self.path} paints no picture (numbers that are not finite, or all black); train it again"
            )
        # A copy outside of inference_mode is an ordinary tensor, which a caller may train with.
        result: Tensor = painted.clone(memory_format=torch.contiguous_format)
        return result

    def _array(self, array: np.ndarray) -> np.ndarray:
        grey = array.ndim == 2
        whole = array.dtype == np.uint8
        if (not grey and (array.ndim != 3 or array.shape[2] != 3)) or not (whole or array.dtype.kind == "f"):
            raise UserError(
                "an array to paint is uint8, or float in [0, 1], of shape (H, W, 3) or (H, W), not "
                f"{array.dtype} {array.shape}"
            )
        rgb = np.repeat(array[:, :, None], 3, axis=2) if grey else array
        # astype copies, since torch takes no foreign byte orders or negative strides, and no read-only arrays
        image = torch.from_numpy(rgb.astype(np.float32, order="C")).permute(2, 0, 1)[None]
        painted = self.paint(image / 255 if whole else image)[0].permute(1, 2, 0)
        return (painted * 255 + 0.5).to(torch.uint8).numpy() if whole else painted.numpy().astype(array.dtype)

    def _check_memory(self, count: int, height: int, width: int) -> None:
        """Refuse what the system would have to kill us for."""
        if self.device.type != "cpu":
            return
        # A network's first convolution works at full size, and no later one at that size is wider.
        channels = next((m.out_channels for m in self.network.modules() if isinstance(m, nn.Conv2d)), 3)
        needed = count * height * width * max(3, channels) * BYTES_PER_PIXEL_AND_CHANNEL
        available = available_memory()
        if available is not None and needed > available:
            side = max(1, int((available / needed) ** 0.5 * max(height, width)))
            raise UserError(
                f"{width} x {height} needs about {needed / 2**30:.1f} GiB to paint and "
                f"{available / 2**30:.1f} GiB are free; shrink it with max_side={side}"
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
        torch.zeros(1, device=device).cpu()  # back again, which meta, a device without memory, refuses
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:
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
