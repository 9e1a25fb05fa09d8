"""Paint photos with a style file."""
