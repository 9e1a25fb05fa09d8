"""Networks that others trained: files of pytorch/examples' fast_neural_style and its forks, as a ResidualNetwork."""
