"""Pixels: decode, encode, resize, colour; the only place that knows ranges other than [0, 1]."""
