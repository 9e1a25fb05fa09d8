"""Networks for programs without this package: ONNX and torch.export."""
