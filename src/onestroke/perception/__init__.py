"""What a painting is measured by: VGG features, Gram matrices, statistics of a style."""
