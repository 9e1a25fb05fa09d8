"""What scripts/fuzz.py is made of: cases, the child processes that run them, and a file for each kind of input."""
