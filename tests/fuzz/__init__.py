"""Bytes that no client should send, for both edges of a running gateway. Everything follows from a seed."""
