"""Detectors of artifacts, one a file."""
