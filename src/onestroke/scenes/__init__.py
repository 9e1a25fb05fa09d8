"""Made-up training scenes, drawn by a renderer of our own.

It is ours because a style is to be trained from what the package holds, on a CPU that draws while it trains: renderers
of photo-like scenes need assets to be downloaded, and much longer for a picture.
"""
