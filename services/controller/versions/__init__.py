"""Versions of models: what is published, loaded, warmed, and how much memory they take."""
