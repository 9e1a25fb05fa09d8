"""What every runtime of a style's network does: paint a batch, paint a frame, and estimate its memory."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import torch
from torch import Tensor

Past = tuple[np.ndarray, np.ndarray]
"""The painting of the frame before, moved to where its content is now, uint8 (H, W, 3), and how well it is known,
float32 (H, W) in [0, 1]."""


class Backend(ABC):
    """A network that is ready to paint.

    device: the device that it runs on. recurrent: whether it also takes the past of a frame.
    """

    device = torch.device("cpu")
    recurrent = False

    @abstractmethod
    def memory(self, count: int, height: int, width: int, *, past: bool = False) -> float:
        """Estimate the peak memory in bytes, on the device, of painting `count` pictures of one size at once.

        past: whether a recurrent network is given their past.

        The estimate is 0.9 to 1.5 times the memory measured for pictures of 0.3 to 3 megapixels.

        Raises:
            UserError: the network can't paint that size.
        """

    @abstractmethod
    def paint(self, image: Tensor, past: Tensor | None = None) -> Tensor:
        """Paint: float (N, 3, H, W) in [0, 1], on any device -> the same shape, fp32, in [0, 1], on the CPU.

        past: for a recurrent network, (N, 4, H, W), see `RecurrentNetwork`; None: nothing is known.

        Raises:
            MemoryError, RuntimeError: from the runtime; callers turn those about memory into UserErrors.
        """

    @abstractmethod
    def paint_frame(self, frame: np.ndarray, past: Past | None = None) -> np.ndarray:
        """Paint one of many frames of one size: uint8 (H, W, 3) -> the same, with the levels that `paint` gives.

        Memory is kept for the next frame. past: for a recurrent network; None: nothing is known.

        Raises:
            NotFinite: the painting is not finite.
            MemoryError, RuntimeError: as `paint`.
        """


class NotFinite(ArithmeticError):
    """A painting has values that are not finite."""
