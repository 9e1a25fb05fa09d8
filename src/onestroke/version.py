"""The version of this package, for what it writes into files; the build reads it here."""

__version__ = "0.1.0"
