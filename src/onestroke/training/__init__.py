"""From a config to a finished style."""
