"""Envoy: its configuration, its pinned environment."""
