"""What each operation of an ONNX graph makes of its input, a family of operations a file."""
