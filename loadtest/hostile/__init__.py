"""Inputs that end, hang or take over a bare Triton, and what the gateway in front of one makes of them."""
