"""Rollouts of versions known to be the same or worse: how often the analysis is wrong, and how soon it is right."""
