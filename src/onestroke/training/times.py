"""Durations in words."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """A duration in words: 40 s, 3 min 20 s, 2 h 05 min."""
    whole = round(max(seconds, 0))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"
