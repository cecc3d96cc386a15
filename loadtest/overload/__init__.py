"""Overload: ten times the load that a model can carry, open loop, and what the gateway makes of it."""
