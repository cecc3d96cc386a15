"""From PyTorch to ONNX, and from FP32 to the precisions that are served."""
