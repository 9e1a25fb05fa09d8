"""Decode, encode, resize and blur pictures, and keep their metadata; other rooms see pixels in [0, 1] only."""
