"""Shape and type inference for the operations of an ONNX graph: one file for each family of operations."""
