"""Warming a version before it gets traffic, and seeing whether it gives the answers that it gave when it was built."""
