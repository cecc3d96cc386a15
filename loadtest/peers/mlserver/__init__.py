"""MLServer: its runtime, its settings, its pinned environment."""
