"""Replicas and workers are killed, stopped and restarted under constant load, and every lost request is counted."""
