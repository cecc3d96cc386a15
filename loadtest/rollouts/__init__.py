"""Rollouts of versions that are known to be the same or worse: how often the analysis is wrong, how soon it is right."""
