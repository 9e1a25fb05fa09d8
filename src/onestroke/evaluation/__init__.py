"""Quality as numbers."""
