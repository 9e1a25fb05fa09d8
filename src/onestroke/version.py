"""The version of this package: the build reads it here, and files that are written record it."""

__version__ = "0.1.0"
