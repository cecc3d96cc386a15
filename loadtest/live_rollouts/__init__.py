"""Rollouts of versions known to be the same or worse, in front of a real Triton and under load, many times."""
