"""LitServe: its server, its pinned environment."""
