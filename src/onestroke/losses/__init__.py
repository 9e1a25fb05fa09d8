"""What a painting is judged by: an objective over terms, one term a file."""
