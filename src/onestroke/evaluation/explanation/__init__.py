"""What the network sees: what layers ask for, where terms pull, what controls change, which features count."""
