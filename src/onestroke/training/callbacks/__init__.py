"""What happens around the training steps, a callback a file."""
