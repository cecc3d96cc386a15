"""Finds how Triton should run a model: the instances and the batching that carry most requests within an SLO."""
