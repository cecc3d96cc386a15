"""The build stage: from a trained PyTorch checkpoint to a verified, published model version."""
