"""What the gateway costs: gateway against Triton direct, in one run, on one small model."""
