"""Synthetic training scenes, drawn by a small renderer.

Training must work with nothing but the package, on a CPU that renders while it trains. Existing renderers of photo-like
scenes need downloaded assets and are much slower.
"""
