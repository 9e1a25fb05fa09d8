"""Sources of training pictures, and their batches."""
