"""Import networks that were trained elsewhere: weights of pytorch/examples' fast_neural_style and its forks."""
