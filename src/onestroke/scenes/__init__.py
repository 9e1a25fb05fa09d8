"""Made-up training scenes: a renderer of its own."""
