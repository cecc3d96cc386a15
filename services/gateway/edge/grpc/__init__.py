"""Open Inference Protocol v2 over gRPC: ``inference.GRPCInferenceService``, health and reflection."""
