"""Trace networks to graphs of operations, write them as ONNX, and check untrusted ONNX files."""
