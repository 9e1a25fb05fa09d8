"""VGG features, and the statistics of a style computed from them."""
