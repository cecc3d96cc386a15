"""BentoML: its service, its pinned environment."""
