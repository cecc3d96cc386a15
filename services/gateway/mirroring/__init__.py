"""Copies of live requests for another version, off the response path: chosen, queued, sent, compared and counted."""
