"""Build graphs of FFmpeg's filters."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from onestroke.packages import require

PRECISE = "flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"
"""Options of the filter `scale` with which colours are converted exactly and not fast."""


def chain(source: dict[str, Any], *filters: tuple[str, str]) -> Any:
    """A graph of filters one after the other.

    Args:
        source: what `Graph.add_buffer` takes: width, height, format and time_base of the frames that are pushed.
        filters: name and options of each.
    """
    graph = require("av", "video").filter.Graph()
    parts = [graph.add_buffer(**source), *(graph.add(*each) for each in filters), graph.add("buffersink")]
    for one, other in pairwise(parts):
        one.link_to(other)
    graph.configure()
    return graph
