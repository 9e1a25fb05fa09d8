"""From a style file and a photo to a painted picture."""
