"""Pictures with captions for HTML pages that need nothing beside them."""

from __future__ import annotations

import base64
import html
from io import BytesIO

from torch import Tensor

from onestroke.imaging import images


def figure(picture: Tensor, caption: str, kind: str = "whole", lossless: bool = False, quality: int = 90) -> str:
    """A figure with the picture inside.

    Args:
        picture: (1, 3, H, W); clamped to [0, 1].
        caption: plain text.
        kind: the class in the page's style sheet.
        lossless: as PNG, for pictures that are shown enlarged, where artefacts of JPEG would be visible.
        quality: of JPEG.
    """
    stream = BytesIO()
    images.to_pil(picture.clamp(0, 1)).save(stream, "PNG" if lossless else "JPEG", quality=quality)
    data = base64.b64encode(stream.getvalue()).decode("ascii")
    source = f"data:image/{'png' if lossless else 'jpeg'};base64,{data}"
    words = text(caption)
    return f"<figure class={kind}><img src='{source}' alt='{words}'><figcaption>{words}</figcaption></figure>"


def number(value: float | None) -> str:
    """Format a number with three digits; empty for None."""
    return "" if value is None else f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def text(value: object) -> str:
    """Escape a value for HTML, in attributes too."""
    return html.escape(str(value), quote=True)
