"""OneStroke: train a painter once, then paint any picture in one stroke."""

__version__ = "0.1.0"
