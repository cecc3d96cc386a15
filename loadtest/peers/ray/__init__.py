"""Ray Serve: its application, its pinned environment."""
