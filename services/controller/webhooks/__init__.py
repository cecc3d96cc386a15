"""Calls to other people's services on the way of a rollout: asked for confirmation, told what happened."""
