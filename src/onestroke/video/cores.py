"""Share the cores between the network and what moves its strokes."""

from __future__ import annotations

import torch

from onestroke.packages import require


def share_cores() -> None:
    """Give half of torch's threads to the network and as many to OpenCV, which moves the strokes of other frames.

    Both work at once; with all cores each, the threads of either would wait for those of the other. To be called before
    the Stylizer, whose runtime takes the number of its threads from torch.

    Raises:
        UserError: OpenCV is not installed.
    """
    half = max(1, torch.get_num_threads() // 2)
    torch.set_num_threads(half)
    require("cv2", "video").setNumThreads(half)
