"""Artifact detectors, one in each file."""
