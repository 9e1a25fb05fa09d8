"""Networks as graphs of operations: traced, written as ONNX, and ONNX files from anyone checked."""
