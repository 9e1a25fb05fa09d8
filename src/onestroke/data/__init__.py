"""Where the training pictures come from."""
