"""Rollouts: what is asked for, their states and transitions, their evidence, and what is told of them."""
