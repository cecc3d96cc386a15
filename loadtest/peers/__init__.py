"""The same ONNX model behind Penstock, Triton, Envoy, MLServer, LitServe, BentoML and Ray Serve, in one run."""
